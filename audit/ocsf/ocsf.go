// Package ocsf turns records of the log into events of the Open Cybersecurity
// Schema Framework, version 1.8.0 (schema.ocsf.io), for SIEMs and data lakes.
//
//	request, request.intent, request.open   HTTP Activity 4002
//	protocol.error                          Network Activity 4001
//	admin.call, evidence.read               API Activity 6003
//	config.change, access.review            Entity Management 3004
//	process.*, log.open, log.close          Application Lifecycle 6002
//	access.lockout                          Account Change 3001
//	check.transition                        Compliance Finding 2003
//	all others                              Base Event 0
//
// Every event carries the record itself in raw_data, byte for byte, and its leaf
// hash in raw_data_hash: whoever has the event can prove that the record is in
// the log. metadata.sequence is the record's index.
package ocsf

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/internal/inert"
)

// Version is the version of OCSF that events are of.
const Version = "1.8.0"

// Converter turns the records of one log into events.
type Converter struct {
	Origin  string // of the log
	Product string // version of this program; optional
}

// Values of severity_id, status_id, action_id and disposition_id.
const (
	severityInfo   = 1
	severityLow    = 2
	severityMedium = 3
	severityHigh   = 4

	statusSuccess = 1
	statusFailure = 2

	actionAllowed = 1
	actionDenied  = 2

	dispositionAllowed  = 1
	dispositionBlocked  = 2
	dispositionRejected = 25

	other         = 99
	directionIn   = 1 // of connection_info.direction_id: inbound
	maxPortNumber = 1<<16 - 1
)

// event has the attributes of all classes that are used. Times are in
// milliseconds since 1970.
type event struct {
	ActivityID   int    `json:"activity_id"`
	ActivityName string `json:"activity_name,omitempty"`
	CategoryUID  int    `json:"category_uid"`
	ClassUID     int    `json:"class_uid"`
	TypeUID      int    `json:"type_uid"`
	SeverityID   int    `json:"severity_id"`
	StatusID     int    `json:"status_id,omitempty"`
	StatusCode   string `json:"status_code,omitempty"`
	StatusDetail string `json:"status_detail,omitempty"`
	Message      string `json:"message,omitempty"`
	Time         int64  `json:"time"`
	StartTime    int64  `json:"start_time,omitempty"`
	EndTime      int64  `json:"end_time,omitempty"`
	Duration     int64  `json:"duration,omitempty"`
	Count        int64  `json:"count,omitempty"`

	Metadata metadata `json:"metadata"`

	ActionID      int       `json:"action_id,omitempty"`
	DispositionID int       `json:"disposition_id,omitempty"`
	FirewallRule  *named    `json:"firewall_rule,omitempty"`
	Actor         *actor    `json:"actor,omitempty"`
	API           *api      `json:"api,omitempty"`
	App           *product  `json:"app,omitempty"`
	User          *user     `json:"user,omitempty"`
	Entity        *entity   `json:"entity,omitempty"`
	Trace         *uid      `json:"trace,omitempty"`
	Source        *endpoint `json:"src_endpoint,omitempty"`
	Destination   *endpoint `json:"dst_endpoint,omitempty"`
	Proxy         *endpoint `json:"proxy_endpoint,omitempty"`

	Connection *connection `json:"connection_info,omitempty"`
	TLS        *tlsInfo    `json:"tls,omitempty"`
	Traffic    *traffic    `json:"traffic,omitempty"`
	Request    *request    `json:"http_request,omitempty"`
	Response   *response   `json:"http_response,omitempty"`
	Compliance *compliance `json:"compliance,omitempty"`
	Finding    *finding    `json:"finding_info,omitempty"`

	RawData     string         `json:"raw_data"`
	RawDataHash *fingerprint   `json:"raw_data_hash"`
	Unmapped    map[string]any `json:"unmapped,omitempty"`
}

type (
	metadata struct {
		Product      product  `json:"product"`
		Version      string   `json:"version"`
		UID          string   `json:"uid"`
		Sequence     int64    `json:"sequence"`
		LogName      string   `json:"log_name,omitempty"`
		LogVersion   string   `json:"log_version"`
		EventCode    string   `json:"event_code"`
		OriginalTime string   `json:"original_time"`
		Correlation  string   `json:"correlation_uid,omitempty"`
		Profiles     []string `json:"profiles,omitempty"`
	}
	product struct {
		Name       string `json:"name"`
		VendorName string `json:"vendor_name,omitempty"`
		Version    string `json:"version,omitempty"`
		UID        string `json:"uid,omitempty"`
	}
	named struct {
		Name string `json:"name"`
		Desc string `json:"desc,omitempty"`
	}
	uid struct {
		UID string `json:"uid"`
	}
	user struct {
		Name string `json:"name"`
	}

	actor struct {
		User    *user  `json:"user,omitempty"`
		AppName string `json:"app_name,omitempty"`
	}
	api struct {
		Operation string `json:"operation"`
		Service   *named `json:"service,omitempty"`
	}
	entity struct {
		Name    string `json:"name"`
		Type    string `json:"type"`
		TypeID  int    `json:"type_id"`
		UID     string `json:"uid,omitempty"`
		Version string `json:"version,omitempty"`
	}
	endpoint struct {
		IP       string `json:"ip,omitempty"`
		Port     int    `json:"port,omitempty"`
		Hostname string `json:"hostname,omitempty"`
		Service  string `json:"svc_name,omitempty"`
		Name     string `json:"name,omitempty"`
		Instance string `json:"instance_uid,omitempty"`
	}
	connection struct {
		DirectionID int    `json:"direction_id"`
		UID         string `json:"uid,omitempty"`
	}
	tlsInfo struct {
		Version string `json:"version"`
		Cipher  string `json:"cipher,omitempty"`
		SNI     string `json:"sni,omitempty"`
	}
	traffic struct {
		BytesOut int64 `json:"bytes_out"`
	}
	request struct {
		UID       string   `json:"uid,omitempty"`
		Method    string   `json:"http_method,omitempty"`
		Version   string   `json:"version,omitempty"`
		URL       *url     `json:"url,omitempty"`
		UserAgent string   `json:"user_agent,omitempty"`
		Headers   []header `json:"http_headers,omitempty"`
	}
	header struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	url struct {
		Scheme   string `json:"scheme,omitempty"`
		Hostname string `json:"hostname,omitempty"`
		Port     int    `json:"port,omitempty"`
		Path     string `json:"path"`
		Query    string `json:"query_string,omitempty"`
	}
	response struct {
		Code    int      `json:"code"`
		Length  int64    `json:"body_length,omitempty"`
		Latency int64    `json:"latency,omitempty"`
		Headers []header `json:"http_headers,omitempty"`
	}
	fingerprint struct {
		Algorithm   string `json:"algorithm"`
		AlgorithmID int    `json:"algorithm_id"`
		Value       string `json:"value"`
	}
	compliance struct {
		Control string `json:"control"`
		Status  string `json:"status"`
		Detail  string `json:"status_detail,omitempty"`
		ID      int    `json:"status_id"`
	}
	finding struct {
		UID   string `json:"uid"`
		Title string `json:"title"`
	}
)

// Append appends the event of a record, which must be whole, to dst: one JSON
// object, without a line feed.
func (c *Converter) Append(dst, record []byte) ([]byte, error) {
	r, err := audit.Decode(record)
	if err != nil {
		return dst, err
	}
	leaf := tlog.RecordHash(record)
	ev := &event{
		SeverityID: severityInfo, Time: millis(r.Time),
		Metadata: metadata{
			Product: product{Name: "caddy-soc2", VendorName: "caddy-soc2", Version: c.Product},
			Version: Version, UID: fmt.Sprintf("%s:%d", c.Origin, r.Seq), Sequence: r.Seq,
			LogName: c.Origin, LogVersion: "1", EventCode: string(r.Kind), OriginalTime: r.Time.Format(time.RFC3339Nano),
		},
		RawData:     string(record),
		RawDataHash: &fingerprint{"RFC 6962 leaf hash (SHA-256)", other, hex.EncodeToString(leaf[:])},
	}
	ev.describe(r)
	b, err := json.Marshal(ev)
	if err != nil {
		return dst, fmt.Errorf("encoding record %d: %w", r.Seq, err)
	}
	return append(dst, inert.JSON(b)...), nil
}

// describe fills in what depends on the kind.
func (ev *event) describe(r audit.Record) {
	switch b := r.Body.(type) {
	case *audit.Event:
		ev.http(r, b, true)
	case *audit.Intent:
		ev.http(r, (*audit.Event)(b), false)
	case *audit.Opening:
		ev.http(r, (*audit.Event)(b), true)
	case *audit.ProtocolError:
		ev.protocolError(b)
	case *audit.AdminCall:
		ev.adminCall(r, b)
	case *audit.EvidenceRead:
		ev.evidenceRead(r, b)
	case *audit.ConfigChange:
		ev.configChange(r, b)
	case *audit.Lockout:
		ev.lockout(b)
	case *audit.AccessReview:
		ev.accessReview(b)
	case *audit.CheckTransition:
		ev.check(b)
	default:
		ev.lifecycle(r)
	}
}

// is sets the class and the activity.
func (ev *event) is(class, activity int, name string) {
	ev.ClassUID, ev.CategoryUID, ev.ActivityID = class, class/1000, activity
	ev.TypeUID = class*100 + activity
	if activity == other {
		ev.ActivityName = name
	}
}

// profile says that attributes of an OCSF profile are used.
func (ev *event) profile(name string) { ev.Metadata.Profiles = append(ev.Metadata.Profiles, name) }

func (ev *event) unmapped(name string, value any) {
	if value == "" {
		return
	}
	if ev.Unmapped == nil {
		ev.Unmapped = map[string]any{}
	}
	ev.Unmapped[name] = value
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// visible returns text from outside as it may be shown. As in the record, bytes
// that are not UTF-8, controls and backslashes are written \xHH: JSON would lose
// the first and hide the second.
func visible(s string) string {
	var b strings.Builder
	start := 0
	for i, r := range s {
		_, size := utf8.DecodeRuneInString(s[i:])
		if r != '\\' && !unicode.IsControl(r) && (r != utf8.RuneError || size > 1) {
			continue
		}
		b.WriteString(s[start:i])
		for _, c := range []byte(s[i : i+size]) {
			fmt.Fprintf(&b, `\x%02x`, c)
		}
		start = i + size
	}
	if start == 0 {
		return s
	}
	b.WriteString(s[start:])
	return b.String()
}

// address makes an endpoint of an IP address, or of what stands in its place.
func address(ip string, port int) *endpoint {
	if ip == "" {
		return nil
	}
	if a, err := netip.ParseAddr(ip); err == nil {
		return &endpoint{IP: a.WithZone("").String(), Port: port}
	}
	return &endpoint{Name: visible(ip), Port: port}
}

// hostPort splits an address with a port.
func hostPort(s string) *endpoint {
	if a, err := netip.ParseAddrPort(s); err == nil {
		return address(a.Addr().String(), int(a.Port()))
	}
	host, port := s, ""
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		host, port = s[:i], s[i+1:]
	}
	return address(host, number(port))
}

// number reads a port, and gives 0 for what is none.
func number(s string) int {
	n := 0
	for _, c := range []byte(s) {
		if c < '0' || c > '9' || n > maxPortNumber {
			return 0
		}
		n = n*10 + int(c-'0')
	}
	if n > maxPortNumber {
		return 0
	}
	return n
}
