package response

import (
	"net/http"
	"slices"
	"strings"
)

// net/http sends the header map as it is when the handler commits it. The
// writer of HTTP/3 (quic-go) sends it as it is when the first bytes of the body
// leave, which for a short body is after the handlers have returned: what they
// do to the map meanwhile would leave past OnCommit. With Freeze a Writer keeps
// what was committed and puts the map back before anything more is sent.

// settled is how many bytes of a body are written at least when the header has
// left. quic-go buffers less than 4 KiB.
const settled = 64 << 10

// freeze keeps the header that was committed.
func (w *Writer) freeze() {
	if w.Freeze && w.committed && !w.hijacked && w.frozen == nil {
		w.frozen = w.Header().Clone()
	}
}

// sent notes that so many bytes of the body were passed on.
func (w *Writer) sent(n int64) {
	if w.frozen != nil {
		w.passed += n
		w.left = w.left || w.passed > settled
	}
}

// Restore undoes what was done to the header map since the commit, where that
// would be sent, and leaves trailers alone. The Writer does so before it sends;
// whoever wraps the response calls it once more when the handlers are done.
func (w *Writer) Restore() {
	if w.frozen == nil || w.left {
		return
	}
	h := w.Header()
	for key, values := range h {
		was, ok := w.frozen[key]
		switch {
		case ok && slices.Equal(was, values):
		case strings.HasPrefix(key, http.TrailerPrefix) || w.announced(key):
		case ok:
			h[key] = slices.Clone(was)
		case key == "Content-Type" || key == "Content-Length" || key == "Date": // of the server
		default:
			delete(h, key)
		}
	}
	for key, was := range w.frozen {
		if _, ok := h[key]; !ok && !w.announced(key) {
			h[key] = slices.Clone(was)
		}
	}
}

// announced tells whether the committed header says that key is a trailer.
func (w *Writer) announced(key string) bool {
	for _, line := range w.frozen["Trailer"] {
		for name := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(name), key) {
				return true
			}
		}
	}
	return false
}
