package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/net/websocket"
)

// applications serves what people put behind a proxy: pages with inline
// scripts, a page as WordPress makes them, Swagger UI, and an application of one
// page. It returns the address.
func applications(t *testing.T, swagger string) string {
	t.Helper()
	other := elsewhere(t)
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServer(http.Dir(filepath.Join("testdata", "pages"))))
	mux.HandleFunc("/submit", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, filepath.Join("testdata", "pages", "frame.html"))
	})
	wordpress(t, mux, other)
	onePage(mux)
	mux.Handle("/swagger/", http.StripPrefix("/swagger", http.FileServer(http.Dir(swagger))))
	mux.HandleFunc("/swagger/swagger-initializer.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		fmt.Fprint(w, `window.onload = () => { window.ui = SwaggerUIBundle({
			url: "/swagger/openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null,
			presets: [SwaggerUIBundle.presets.apis, SwaggerUIStandalonePreset], plugins: [SwaggerUIBundle.plugins.DownloadUrl],
			layout: "StandaloneLayout" }); };`)
	})
	mux.HandleFunc("/swagger/openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"openapi":"3.0.3","info":{"title":"Orders","version":"1"},"paths":{"/orders":{"get":{"operationId":"listOrders","summary":"All orders","responses":{"200":{"description":"ok"}}}}}}`)
	})
	srv := httptest.NewServer(powered(mux))
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

// powered adds what applications tell about themselves.
func powered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", "Apache/2.4.1")
		w.Header().Set("X-Powered-By", "PHP/8.3")
		next.ServeHTTP(w, r)
	})
}

// elsewhere is the origin of what pages load from others: images, fonts, a
// script that counts visitors, a video's frame. It is not behind the proxy.
func elsewhere(t *testing.T) string {
	t.Helper()
	picture := smallPicture(t)
	mux := http.NewServeMux()
	for _, name := range []string{"/photo.png", "/avatar.png"} {
		mux.HandleFunc(name, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "image/png")
			_, _ = w.Write(picture)
		})
	}
	mux.HandleFunc("/fonts.css", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/css")
		fmt.Fprint(w, "body { font-family: sans-serif; }")
	})
	mux.HandleFunc("/analytics.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		fmt.Fprint(w, "steps.push('analytics');")
	})
	mux.HandleFunc("/embed.html", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<!doctype html><title>Video</title><script>parent.postMessage('embed', '*')</script>")
	})
	srv := httptest.NewTLSServer(mux)
	t.Cleanup(srv.Close)
	return strings.Replace(srv.URL, "127.0.0.1", "localhost", 1)
}

func smallPicture(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 2, 2))); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func wordpress(t *testing.T, mux *http.ServeMux, other string) {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("testdata", "pages", "wordpress", "index.html"))
	if err != nil {
		t.Fatal(err)
	}
	_, host, _ := strings.Cut(other, "//")
	text := strings.NewReplacer("{{other}}", other, "{{host}}", host).Replace(string(page))
	mux.HandleFunc("/wordpress/{$}", func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=UTF-8")
		h.Add("Link", `</wordpress/wp-json/>; rel="https://api.w.org/"`)
		h.Add("Set-Cookie", "wordpress_test_cookie=WP%20Cookie%20check; path=/")
		_, _ = io.WriteString(w, text)
	})
	picture := smallPicture(t)
	mux.HandleFunc("/wordpress/photo.png", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "image/png")
		_, _ = w.Write(picture)
	})
	mux.HandleFunc("POST /wordpress/wp-admin/admin-ajax.php", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json; charset=UTF-8")
		w.Header().Set("X-Robots-Tag", "noindex")
		fmt.Fprint(w, `{"success":true,"data":"ajax"}`)
	})
	mux.HandleFunc("POST /wordpress/wp-comments-post.php", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Set-Cookie", "comment_author=x; expires=Sat, 21 Nov 2099 00:00:00 GMT; path=/wordpress/")
		http.Redirect(w, r, "/wordpress/reply.html", http.StatusFound)
	})
}

func onePage(mux *http.ServeMux) {
	mux.HandleFunc("/spa/{rest...}", func(w http.ResponseWriter, r *http.Request) {
		name := filepath.Join("testdata", "pages", "spa", filepath.Clean("/"+r.PathValue("rest")))
		if info, err := os.Stat(name); err != nil || info.IsDir() {
			name = filepath.Join("testdata", "pages", "spa", "index.html")
		}
		b, _ := os.ReadFile(name) // ServeFile would redirect index.html
		w.Header().Set("Content-Type", map[string]string{
			".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".webmanifest": "application/manifest+json",
		}[filepath.Ext(name)])
		_, _ = w.Write(b)
	})
	mux.HandleFunc("POST /spa/api/session", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Set-Cookie", "app_token=abc123; Path=/")
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /spa/api/orders", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Token") != "abc123" {
			w.WriteHeader(http.StatusForbidden)
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"step": "orders"})
	})
	mux.HandleFunc("GET /spa/api/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: event\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	mux.Handle("GET /spa/api/socket", websocket.Handler(func(ws *websocket.Conn) { _, _ = io.Copy(ws, ws) }))
}
