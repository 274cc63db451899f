package traffic

import (
	"fmt"
	"time"
)

// agent is a user agent with its share of the sessions.
type agent struct {
	name   string
	share  float64
	old    bool // speaks HTTP/1.1
	probes bool
}

var agents = []agent{
	{name: "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36", share: 17},
	{name: "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36", share: 4},
	{name: "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36", share: 6},
	{name: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36", share: 2},
	{name: "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36", share: 13},
	{name: "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/29.0 Chrome/136.0.0.0 Mobile Safari/537.36", share: 2},
	{name: "Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.1 Mobile/15E148 Safari/604.1", share: 10},
	{name: "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1", share: 3},
	{name: "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.1 Safari/605.1.15", share: 4},
	{name: "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:145.0) Gecko/20100101 Firefox/145.0", share: 4},
	{name: "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0", share: 1},
	{name: "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0", share: 6},
	{name: "ExampleApp/7.3.1 (iPhone; iOS 18.7; Scale/3.00)", share: 7},
	{name: "ExampleApp/7.3.0 (iPhone; iOS 18.6; Scale/3.00)", share: 2},
	{name: "okhttp/5.1.0", share: 7},
	{name: "python-requests/2.32.5", share: 2, old: true},
	{name: "Go-http-client/2.0", share: 1.5},
	{name: "node", share: 1.5, old: true},
	{name: "curl/8.16.0", share: 0.5},
	{name: "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", share: 2},
	{name: "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)", share: 1, old: true},
	{name: "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)", share: 1},
	{name: "", share: 0.5, old: true, probes: true},
	{name: "Mozilla/5.0 zgrab/0.x", share: 2, old: true, probes: true},
}

// pickAgent chooses by share, from a number between 0 and 1.
func pickAgent(at float64) agent {
	var sum float64
	for _, a := range agents {
		sum += a.share
	}
	for at *= sum; ; {
		for _, a := range agents {
			if at -= a.share; at < 0 {
				return a
			}
		}
	}
}

// route is a path of the application.
type route struct {
	method, path string
	static       bool
	ids          bool          // some calls name an object
	bytes        int64         // size, of dynamic answers the median
	median       time.Duration // of the upstream's latency
}

// routes is ordered by popularity, kinds mixed as they are on a site.
var routes = func() (all []route) {
	nouns := []string{"orders", "items", "users", "carts", "search", "prices", "stock", "sessions", "reports", "invoices"}
	assets := []string{"app.%x.js", "vendor.%x.js", "main.%x.css", "logo.%x.svg", "hero.%x.webp", "font.%x.woff2"}
	for i := range 300 {
		h := uint64(i+1) * 0x9e3779b97f4a7c15
		r := route{method: "GET", bytes: int64(600 + h>>50), median: time.Duration(3+h>>58) * time.Millisecond}
		switch i % 5 {
		case 0, 3:
			r.static, r.bytes = true, int64(900+h>>47)
			r.path = "/assets/" + fmt.Sprintf(assets[i%len(assets)], h>>32)
			r.median = time.Millisecond
		case 1:
			r.ids = true
			r.path = fmt.Sprintf("/api/v1/%s", nouns[i/5%len(nouns)])
			if i >= 5*len(nouns) {
				r.path += []string{"/recent", "/summary", "/count", "/export", "/preview"}[i/50%5]
			}
			if h>>60 < 4 {
				r.method = []string{"POST", "PUT", "DELETE", "PATCH"}[h>>60]
			}
		case 2:
			r.path = fmt.Sprintf("/products/%s-%d", nouns[i/5%len(nouns)], i)
		default:
			r.path = fmt.Sprintf("/blog/2026/%02d/a-post-about-%s", 1+i%12, nouns[i/5%len(nouns)])
		}
		all = append(all, r)
	}
	all[2].path = "/"
	return all
}()

var (
	upstreams = []string{"10.0.1.11:3000", "10.0.1.12:3000", "10.0.1.13:3000"}
	queries   = []string{"page=2", "q=shoes&sort=price", "utm_source=newsletter&utm_medium=email", "id=17", "lang=en", "from=2026-11-01&to=2026-11-21&limit=50", "ref=home"}
	probes    = []string{"/.env", "/wp-login.php", "/.git/config", "/admin/", "/phpmyadmin/index.php", "/cgi-bin/luci", "/actuator/health", "/vendor/phpunit/phpunit/src/Util/PHP/eval-stdin.php", "/xmlrpc.php", "/server-status"}
)
