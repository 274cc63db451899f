package reports

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
)

// The types of a body.
const (
	typeReports = "application/reports+json"
	typeCSP     = "application/csp-report"
)

// maxReports is how many reports are taken from a body.
const maxReports = 100

// report is what matters of a report (Reporting API, section 3.2; CSP level 3,
// sections 5.1 and 5.3).
type report struct {
	Type string `json:"type"`
	URL  string `json:"url"`
	Body struct {
		DocumentURL        string `json:"documentURL"`
		EffectiveDirective string `json:"effectiveDirective"`
		BlockedURL         string `json:"blockedURL"`
		Disposition        string `json:"disposition"`
		Feature            string `json:"featureId"`
		PolicyID           string `json:"policyId"`
		ID                 string `json:"id"`
		Reason             string `json:"reason"`
	} `json:"body"`
}

// older is the report that browsers send to a report-uri.
type older struct {
	Report *struct {
		DocumentURI        string `json:"document-uri"`
		BlockedURI         string `json:"blocked-uri"`
		EffectiveDirective string `json:"effective-directive"`
		ViolatedDirective  string `json:"violated-directive"`
		Disposition        string `json:"disposition"`
	} `json:"csp-report"`
}

// parse reads a body.
func parse(media string, body []byte) ([]report, error) {
	if media == typeReports {
		return parseList(body)
	}
	var o older
	if err := json.Unmarshal(body, &o); err != nil {
		return nil, fmt.Errorf("reading a report: %w", err)
	}
	if o.Report == nil {
		return nil, errors.New("the report has no csp-report")
	}
	var r report
	r.Type, r.URL = "csp-violation", o.Report.DocumentURI
	r.Body.BlockedURL, r.Body.Disposition = o.Report.BlockedURI, o.Report.Disposition
	if r.Body.EffectiveDirective = o.Report.EffectiveDirective; r.Body.EffectiveDirective == "" {
		r.Body.EffectiveDirective, _, _ = strings.Cut(o.Report.ViolatedDirective, " ")
	}
	return []report{r}, nil
}

// parseList reads a list, report by report: as a whole, one of many empty reports
// would take two hundred times the memory of its body.
func parseList(body []byte) ([]report, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return nil, errors.New("there is no list of reports")
	}
	var list []report
	for d.More() {
		if len(list) == maxReports {
			return nil, fmt.Errorf("more than %d reports in a body", maxReports)
		}
		var r report
		if err := d.Decode(&r); err != nil {
			return nil, fmt.Errorf("reading a list of reports: %w", err)
		}
		list = append(list, r)
	}
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("reading the end of a list of reports: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("there is more after the list of reports")
	}
	return list, nil
}

// key is what reports that are alike have in common.
type key struct{ host, kind, directive, blocked, disposition string }

// types are the types of reports that are told apart.
var types = map[string]bool{
	"csp-violation": true, "csp-hash": true, "permissions-policy-violation": true, "potential-permissions-policy-violation": true,
	"coep": true, "coop": true, "deprecation": true, "intervention": true, "crash": true, "integrity-violation": true,
	"document-policy-violation": true, "network-error": true,
}

// reduce returns what is counted of a report, and the path of its page. It
// refuses a report that is not about a page of the host.
func (r *report) reduce(host string) (k key, page string, ok bool) {
	raw := r.URL
	if raw == "" {
		raw = r.Body.DocumentURL
	}
	u, err := url.Parse(raw)
	if err != nil || !isHost(host) || u.Scheme != "https" && u.Scheme != "http" || !strings.EqualFold(u.Hostname(), strings.Trim(host, "[]")) {
		return key{}, "", false
	}
	k = key{host: host, kind: r.Type, blocked: origin(r.Body.BlockedURL)}
	if !types[k.kind] {
		k.kind = "other"
	}
	for _, name := range []string{r.Body.EffectiveDirective, r.Body.PolicyID, r.Body.Feature, r.Body.ID, r.Body.Reason} {
		if k.directive = name; name != "" {
			break
		}
	}
	if !isName(k.directive) {
		k.directive = ""
	}
	if r.Body.Disposition == "enforce" || r.Body.Disposition == "report" || r.Body.Disposition == "reporting" {
		k.disposition = strings.TrimSuffix(r.Body.Disposition, "ing")
	}
	page = u.EscapedPath()
	return k, page[:min(len(page), 128)], true
}

// origin reduces what was blocked to its origin, a scheme or a keyword.
func origin(blocked string) string {
	switch blocked {
	case "":
		return ""
	case "inline", "eval", "wasm-eval", "self", "trusted-types-policy", "trusted-types-sink":
		return blocked
	}
	u, err := url.Parse(blocked)
	switch {
	case err != nil:
		return "other"
	case u.Host != "":
		if !isHost(u.Host) || !isName(u.Scheme) {
			return "other"
		}
		return strings.ToLower(u.Scheme + "://" + u.Host)
	case u.Scheme != "" && len(u.Scheme) < 32:
		return u.Scheme // data, blob, chrome-extension, …
	case isName(blocked): // Safari and others send the scheme alone
		return strings.ToLower(blocked)
	}
	return "other"
}

// isHost tells whether s is a host as browsers write it, with or without a port:
// names of other scripts are in Punycode.
func isHost(s string) bool {
	if len(s) == 0 || len(s) > 255 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > ':') && c != '-' && c != '_' && c != '.' && c != '[' && c != ']' {
			return false
		}
	}
	return true
}

// isName tells whether s is a word as directives and features are.
func isName(s string) bool {
	if len(s) == 0 || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if c|0x20 < 'a' || c|0x20 > 'z' {
			if (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
				return false
			}
		}
	}
	return true
}
