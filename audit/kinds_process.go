package audit

import "time"

// Process is something that happened to the server's process.
type Process struct {
	Time    time.Time
	Kind    Kind          // process.*
	PID     int           // of the process that it happened to
	Boot    string        // id of the process's life, to join its records
	Uptime  time.Duration // of the process
	Last    time.Time     // process.crash: when it was last seen alive
	Signal  string
	Limit   string // process.limit: which resource
	Value   int64  // process.limit: how much of it
	Bound   int64  // process.limit: how much there may be, or has to be
	State   string // process.limit: reached, over
	Reason  string // of a stop or of what is thought of a crash
	Config  string // SHA-256 of the configuration in force, hex
	Program Program
	Host    Host
	Clock   Clock
	FIPS    FIPS
	Limits  []string // process.start: limits of resources: name=value
	Shortened
}

// Program is what runs.
type Program struct {
	Path     string
	SHA256   string // of the file, hex
	Version  string
	Go       string   // version of the tool chain
	Revision string   // of the source
	Settings []string // of the build: name=value
	Modules  []string // path@version and, after a space, sum, of the Go modules
}

// Host is where it runs.
type Host struct {
	Name      string
	OS        string
	Arch      string
	Kernel    string
	Container string // id
	Image     string // of the container, with its digest if known
	UID       string // user that it runs as
	GID       string // and group
}

// Clock is the state of the host's clock.
type Clock struct {
	Known  bool // the rest was found out
	Synced bool
	Offset time.Duration // estimated error
	Source string
}

// FIPS is the state of the cryptographic module (FIPS 140-3).
type FIPS struct {
	Enabled  bool
	Enforced bool
	Version  string // of the module
}

// AppendBody implements Body.
func (r *Process) AppendBody(dst []byte, instance string) []byte {
	var c coder
	c.to(dst, instance)
	for c.pass() {
		r.members(&c)
	}
	return c.b
}

func (r *Process) members(c *coder) {
	c.begin(family("process.", r.Kind), &r.Time)
	count(c, "pid", &r.PID)
	c.text("boot", &r.Boot, maxText)
	count(c, "uptime_ns", &r.Uptime)
	c.time("last", &r.Last)
	c.text("signal", &r.Signal, maxText)
	c.text("limit", &r.Limit, maxText)
	count(c, "value", &r.Value)
	count(c, "bound", &r.Bound)
	c.text("state", &r.State, maxText)
	c.text("reason", &r.Reason, maxValue)
	c.text("config", &r.Config, maxText)
	r.Program.members(c)
	r.Host.members(c)
	r.Clock.members(c)
	r.FIPS.members(c)
	c.list("limits", &r.Limits, maxItems)
	c.end(&r.Shortened)
}

func (p *Program) members(c *coder) {
	c.open("program")
	c.text("program.path", &p.Path, maxText)
	c.text("program.sha256", &p.SHA256, maxText)
	c.text("program.version", &p.Version, maxText)
	c.text("program.go", &p.Go, maxText)
	c.text("program.revision", &p.Revision, maxText)
	c.list("program.settings", &p.Settings, maxItems)
	c.list("program.modules", &p.Modules, maxLong)
	c.close()
}

func (h *Host) members(c *coder) {
	c.open("host")
	c.text("host.name", &h.Name, maxText)
	c.text("host.os", &h.OS, maxText)
	c.text("host.arch", &h.Arch, maxText)
	c.text("host.kernel", &h.Kernel, maxText)
	c.text("host.container", &h.Container, maxText)
	c.text("host.image", &h.Image, maxText)
	c.text("host.uid", &h.UID, maxText)
	c.text("host.gid", &h.GID, maxText)
	c.close()
}

func (k *Clock) members(c *coder) {
	c.open("clock")
	if c.when(k.Known, "clock.synced") {
		if c.in != nil {
			k.Known = true
		}
		c.truth("clock.synced", &k.Synced)
		number(c, "clock.offset_ns", &k.Offset)
		c.text("clock.source", &k.Source, maxText)
	}
	c.close()
}

func (f *FIPS) members(c *coder) {
	c.open("fips")
	c.flag("fips.enabled", &f.Enabled)
	c.flag("fips.enforced", &f.Enforced)
	c.text("fips.version", &f.Version, maxText)
	c.close()
}
