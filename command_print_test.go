package soc2

import (
	"bytes"
	"strings"
	"testing"
)

// TestRecordsDoNotActOnTerminals prints what only a log that somebody else
// wrote can hold.
func TestRecordsDoNotActOnTerminals(t *testing.T) {
	var out bytes.Buffer
	in := "a\x1b[2Jb\r\x07\u202e\u009bc\xff é\n"
	if n, err := (plainWriter{&out}).Write([]byte(in)); err != nil || n != len(in) {
		t.Errorf("%d, %v", n, err)
	}
	if got := out.String(); got != "a?[2Jb????c? é\n" {
		t.Errorf("%q", got)
	}
}

func TestBriefTellsWhoAskedForWhat(t *testing.T) {
	record := `{"v":1,"seq":7,"pos":0,"time":"2026-01-02T03:04:05.678900000Z","kind":"request","id":"0190aaaa-0000-7000-8000-000000000000",` +
		`"client":{"ip":"192.0.2.7"},"request":{"method":"GET","host":"example.com","path":"/a\u000ab"},"response":{"status":404},"crc":"00000000"}`
	want := "       7 2026-01-02 03:04:05.678 request 404 GET example.com/a?b from 192.0.2.7, 0190aaaa-0000-7000-8000-000000000000"
	if got := brief([]byte(record)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := brief([]byte(`{"seq":8,"time":"2026-01-02T03:04:05Z","kind":"log.open"}`)); got != "       8 2026-01-02 03:04:05.000 log.open" {
		t.Errorf("%q", got)
	}
	if got := brief([]byte("\x1b")); strings.Contains(got, "\x1b") {
		t.Errorf("%q", got)
	}
}
