package controls

import "time"

// Snapshot is what checks look at: at one moment, and nothing else. It holds the
// configuration with its secrets, so it is not for keeping.
type Snapshot struct {
	Time time.Time `json:"time"`

	// Config is the configuration as a JSON document, as jsonpatch.Parse returns
	// it; nil if it is not known.
	Config       any    `json:"config"`
	ConfigSHA256 string `json:"config_sha256,omitempty"`

	// AdminDefault is where the admin endpoint is if the configuration does not
	// say.
	AdminDefault string `json:"admin_default,omitempty"`

	// Server is what only a running server can tell; nil if there is none.
	Server *Server `json:"server,omitempty"`
}

// Server is what a running server tells. Parts that are nil are not known.
type Server struct {
	Started time.Time `json:"started"` // when the process began

	// History is the time from which on all records of the log, but those of
	// requests, are in what follows. Zero: it is being read.
	History time.Time `json:"history,omitzero"`

	Log          Log                  `json:"log"`
	Traffic      Traffic              `json:"traffic"`
	Changes      []Change             `json:"changes"`               // oldest first
	ChangesFrom  time.Time            `json:"changes_from,omitzero"` // there were older ones, which are not kept; zero: none
	Recorded     string               `json:"recorded,omitempty"`    // hash that the last change says runs
	Endpoint     *Endpoint            `json:"endpoint,omitempty"`    // nil: not compared yet
	Names        map[string]Name      `json:"names,omitempty"`       // what became of certificates, by name
	Certificates *[]Certificate       `json:"certificates"`          // in use; nil: not looked at yet
	Upstreams    []Upstream           `json:"upstreams,omitempty"`   // that were watched
	Reviews      []Review             `json:"reviews,omitempty"`     // oldest first
	Accepted     []Acceptance         `json:"accepted,omitempty"`    // the newest of each check that was not withdrawn
	Dockerfiles  []Dockerfile         `json:"dockerfiles,omitempty"` // the newest verdict on each that was recorded
	Process      *Process             `json:"process,omitempty"`
	Second       *Count               `json:"second,omitempty"`  // second count of requests
	Sampled      *Sample              `json:"sampled,omitempty"` // of the newest records; nil: not read
	Failing      map[string]time.Time `json:"failing,omitempty"` // critical checks that failed before this run, since when
}

// Log is the state of the audit log.
type Log struct {
	Opened         time.Time `json:"opened"`
	Failure        string    `json:"failure,omitempty"` // why it takes no records
	Records        int64     `json:"records"`
	Checkpoint     int64     `json:"checkpoint"` // records under the newest one
	CheckpointTime time.Time `json:"checkpoint_time"`
	Waiting        time.Time `json:"waiting,omitzero"` // since when records wait for a checkpoint

	Verified *Verification `json:"verified,omitempty"` // nil: not since it was opened
	Anchors  []Anchor      `json:"anchors,omitempty"`

	First  int64     `json:"first"`           // index of the oldest record that is kept
	Oldest time.Time `json:"oldest,omitzero"` // and its time
	Held   bool      `json:"held,omitempty"`  // a legal hold is in force

	Free  int64   `json:"free"`  // bytes of the file system; -1: not known
	Daily float64 `json:"daily"` // bytes a day that the log grows by; 0: not known yet
}

// Verification is a result of the log verifying itself.
type Verification struct {
	Time     time.Time `json:"time"`
	Problems []string  `json:"problems,omitempty"`
	Outcome  string    `json:"outcome,omitempty"` // verified, problems, unfinished
	Error    string    `json:"error,omitempty"`   // it could not be made
}

// Anchor is what an outsider last did with the log's head.
type Anchor struct {
	What    string    `json:"what"` // witness, timestamp, replica
	Name    string    `json:"name"`
	Outcome string    `json:"outcome"` // ok, failed, conflict
	Seen    time.Time `json:"seen,omitzero"`
	Size    int64     `json:"size"` // of the log that it saw last
	Error   string    `json:"error,omitempty"`
}

// SightingName says what was seen.
type SightingName string

// What is counted as it happens.
const (
	SeenTLS12       SightingName = "tls1.2"      // request over TLS 1.2
	SeenTLSOld      SightingName = "tls_old"     // request over an older version
	SeenPlain       SightingName = "plain"       // content over plain HTTP
	SeenNoHSTS      SightingName = "hsts"        // HTTPS response without Strict-Transport-Security
	SeenWeakPage    SightingName = "page"        // page without a security header
	SeenLeak        SightingName = "leak"        // response that tells its software
	SeenCORS        SightingName = "cors"        // response that other origins may read with credentials
	SeenCaller      SightingName = "caller"      // call of the admin API by nobody known
	SeenMissing     SightingName = "missing"     // something without a record
	SeenStranger    SightingName = "stranger"    // protected path that was served to nobody known
	SeenCached      SightingName = "cached"      // response from the cache that is somebody else's
	SeenClock       SightingName = "clock"       // jump of the clock
	SeenLimited     SightingName = "limited"     // request that the rate limiter refused
	SeenKnownCaller SightingName = "known_calls" // call of the admin API by somebody known
)

// Sighting is what was seen once or, within a second, several times.
type Sighting struct {
	Time  time.Time `json:"time"` // of the last one
	What  string    `json:"what"`
	Count int64     `json:"count"`
}

// Traffic is what was counted of requests.
type Traffic struct {
	Since     time.Time                   `json:"since"`
	Requests  int64                       `json:"requests"`
	Encrypted int64                       `json:"encrypted"` // over TLS
	Pages     int64                       `json:"pages"`     // text/html
	Origins   int64                       `json:"origins"`   // responses that name an origin
	Protected int64                       `json:"protected"` // requests for protected paths
	Named     int64                       `json:"named"`     // requests with a principal
	CacheHits int64                       `json:"cache_hits"`
	Calls     int64                       `json:"calls"` // of the admin API
	Sightings map[SightingName][]Sighting `json:"sightings,omitempty"`
	Accounts  map[string]time.Time        `json:"accounts,omitempty"` // principals, by when they were last seen
	Full      bool                        `json:"full,omitempty"`     // there were more principals than Accounts has
}

// Change is a change of the configuration, or an attempt.
type Change struct {
	Time    time.Time `json:"time"`
	Outcome string    `json:"outcome"`
	Source  string    `json:"source"`
	Actor   string    `json:"actor,omitempty"`
	Known   string    `json:"known"`
	Ticket  string    `json:"ticket,omitempty"`
	Before  string    `json:"before,omitempty"`
	After   string    `json:"after,omitempty"`
	Risks   []string  `json:"risks,omitempty"`
}

// Endpoint compares where the admin endpoint listens with the configuration.
type Endpoint struct {
	State      string   `json:"state"` // as_configured, deviates, unknown
	Unexpected []string `json:"unexpected,omitempty"`
	Missing    []string `json:"missing,omitempty"`
}

// Name is what became of the certificates for a name.
type Name struct {
	Failing time.Time `json:"failing,omitzero"` // first failure since one was obtained
	Revoked time.Time `json:"revoked,omitzero"`
	Error   string    `json:"error,omitempty"`
}

// Certificate is one in use.
type Certificate struct {
	Names     []string  `json:"names"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	KeyType   string    `json:"key_type"` // ecdsa-p256, rsa-2048, …
	Managed   bool      `json:"managed"`
}

// Upstream is how an upstream was.
type Upstream struct {
	Name   string    `json:"name"`
	State  string    `json:"state"` // up, down, unknown, gone
	Since  time.Time `json:"since"`
	Phases []Phase   `json:"phases,omitempty"` // that are over, oldest first
}

// Phase is a time in which an upstream was in one state.
type Phase struct {
	State string    `json:"state"`
	From  time.Time `json:"from"`
	To    time.Time `json:"to"`
}

// Review is what a person decided.
type Review struct {
	Time    time.Time `json:"time"`
	Kind    string    `json:"kind"` // triage, drill, signoff, access (sign-off of a review of access)
	Subject string    `json:"subject"`
	Verdict string    `json:"verdict"`
	Owner   string    `json:"owner,omitempty"`
	Reason  string    `json:"reason,omitempty"`
	Ticket  string    `json:"ticket,omitempty"`
	From    time.Time `json:"from,omitzero"`  // of a triage: since when what it is about was there; zero: not said
	Until   time.Time `json:"until,omitzero"` // how long the verdict stands; zero: for good
	Actor   string    `json:"actor,omitempty"`
	Known   string    `json:"actor_known,omitempty"` // how good the actor's name is
	Record  int64     `json:"record_seq,omitempty"`  // index of the record; 0: not known
}

// Dockerfile is the newest verdict on the image of a stage.
type Dockerfile struct {
	Time     time.Time `json:"time"`
	File     string    `json:"file"`
	Target   string    `json:"target,omitempty"` // stage that becomes the image
	Profile  string    `json:"profile"`          // recommended, strict
	Outcome  string    `json:"outcome"`          // pass, fail
	Blocking int64     `json:"blocking"`
	Waived   int64     `json:"waived,omitempty"`
	Baseline int64     `json:"baseline,omitempty"` // findings that were there before
}

// Process is what runs, and how.
type Process struct {
	AdminEnv     string   `json:"admin_env"` // environment variable CADDY_ADMIN
	SHA256       string   `json:"sha256"`    // of the program; empty: not known
	UID          int      `json:"uid"`       // -1: the system has none
	Capabilities []string `json:"capabilities,omitempty"`
	NoNewPrivs   *bool    `json:"no_new_privs,omitempty"` // nil: not known
	Files        []File   `json:"files,omitempty"`
	ClockKnown   bool     `json:"clock_known"`
	ClockSynced  bool     `json:"clock_synced"`
	RootReadOnly *bool    `json:"root_read_only,omitempty"`
	CoreLimit    *uint64  `json:"core_limit,omitempty"` // bytes
}

// File is a file or a directory that must be closed to others.
type File struct {
	Path string `json:"path"`
	What string `json:"what"` // key, configuration, log, socket
	Mode uint32 `json:"mode"` // permission bits
	Dir  bool   `json:"dir,omitempty"`
}

// Count compares two counts of requests.
type Count struct {
	Source string `json:"source"`
	Ours   int64  `json:"ours"`
	Theirs int64  `json:"theirs"`
	Flight int64  `json:"flight,omitempty"` // requests on their way, which one of the two may have
}

// Sample is what was found in the newest records.
type Sample struct {
	Records int        `json:"records"`
	Found   []Evidence `json:"found,omitempty"`
}
