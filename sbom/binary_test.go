package sbom

import (
	"bytes"
	"debug/buildinfo"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// TestInfoIsWhatTheStandardLibraryReads compares with debug/buildinfo for each
// format of executables.
func TestInfoIsWhatTheStandardLibraryReads(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module example.com/a\n\ngo 1.26\n", "main.go": "package main\n\nfunc main() { println(\"a\") }\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	names := []string{self} // of this system
	for _, system := range []string{"windows/amd64", "darwin/arm64"} {
		name := filepath.Join(dir, strings.ReplaceAll(system, "/", "-"))
		goos, arch, _ := strings.Cut(system, "/")
		build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", name, ".")
		build.Dir = dir
		build.Env = append(os.Environ(), "GOOS="+goos, "GOARCH="+arch, "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", system, err, out)
		}
		names = append(names, name)
	}
	for _, name := range names {
		want, err := buildinfo.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		got, err := readInfo(f)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v\n%+v, want\n%+v", name, err, got, want)
		}
	}
}

// infoBytes is an executable that has nothing else.
func infoBytes(version, modules string) []byte {
	b := append(bytes.Clone(mark), 8, flagInline)
	b = append(b, make([]byte, headLen-len(b))...)
	for _, s := range []string{version, string(frameBegin) + modules + string(frameEnd)} {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	return b
}

// TestMarkIsFoundWhereverItIs puts it across the end of a block, behind what
// looks like it.
func TestMarkIsFoundWhereverItIs(t *testing.T) {
	whole := infoBytes("go1.26.8", "path\texample.com/a\nmod\texample.com/a\tv1.0.0\th1:x\n")
	for _, before := range []int{0, 1, 1<<20 - 1, 1<<20 - markLen, 1<<20 - markLen + 1, 1 << 20, 3<<20 + 7} {
		data := append(bytes.Repeat([]byte{7}, before), whole...)
		if before > 100 {
			copy(data[16:], mark)
			copy(data[64:], infoBytes("go9", "")[:headLen+3])
		}
		info, err := readInfo(bytes.NewReader(data))
		if err != nil || info.Main.Version != "v1.0.0" || info.GoVersion != "go1.26.8" {
			t.Errorf("after %d bytes: %+v, %v", before, info, err)
		}
	}
	old := infoBytes("go1.17", "")
	old[markLen+1] = 0
	for name, data := range map[string][]byte{"is nothing": nil, "older than 1.18": old, "nothing from a Go linker": whole[:len(whole)-1]} {
		if info, err := readInfo(bytes.NewReader(data)); err == nil || name == "older than 1.18" && !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %+v, %v", name, info, err)
		}
	}
}

func FuzzReadInfo(f *testing.F) {
	f.Add(infoBytes("go1.26.8", "path\texample.com/a\nmod\texample.com/a\tv1.0.0\th1:x\ndep\tb\tv1\n=>\tc\tv2\t\n"))
	f.Add(infoBytes("go1.26.8", "=>\t\n"))
	f.Add([]byte(mark))
	f.Fuzz(func(t *testing.T, data []byte) {
		info, err := readInfo(bytes.NewReader(data))
		if (info == nil) == (err == nil) {
			t.Errorf("%+v, %v", info, err)
		}
		if info != nil {
			New(info, "", Options{})
		}
	})
}
