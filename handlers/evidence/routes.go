package evidence

import "strings"

// route is a resource below the prefix, and who may read it.
type route struct {
	pattern  string // an element in braces stands for any
	least    Role
	resource string // in records of reads
	state    bool   // it is served while the log takes no records, and so without a record
	tile     bool   // it is a hash tile, of which a reader may have more
	open     bool   // reads of it are not recorded: it shows no evidence
}

// routes are all resources. A path that is none of them is an auditor's: it is
// not told to others what there is.
var routes = []route{
	{pattern: "/", least: Viewer, resource: "page", state: true},
	{pattern: "/style.css", least: Viewer, open: true},
	{pattern: "/lookup", least: Auditor, resource: "record"},
	{pattern: "/v1/", least: Viewer, open: true},
	{pattern: "/v1/openapi.json", least: Viewer, open: true},
	{pattern: "/v1/status", least: Viewer, resource: "status", state: true},
	{pattern: "/v1/healthz", least: Viewer, open: true, state: true},
	{pattern: "/v1/boundary", least: Viewer, resource: "boundary", state: true},
	{pattern: "/v1/checks", least: Viewer, resource: "checks", state: true},
	{pattern: "/v1/checks/{id}", least: Viewer, resource: "checks", state: true},
	{pattern: "/v1/checks/{id}/history", least: Viewer, resource: "checks"},
	{pattern: "/v1/criteria", least: Viewer, resource: "criteria", state: true},
	{pattern: "/v1/criteria/{id}", least: Viewer, resource: "criteria", state: true},
	{pattern: "/v1/findings", least: Viewer, resource: "findings", state: true},
	{pattern: "/v1/exceptions", least: Viewer, resource: "exceptions", state: true},
	{pattern: "/v1/upstreams", least: Viewer, resource: "upstreams"},
	{pattern: "/v1/certificates", least: Viewer, resource: "certificates"},
	{pattern: "/v1/config/current", least: Auditor, resource: "config"},
	{pattern: "/v1/config/changes", least: Auditor, resource: "config"},
	{pattern: "/v1/config/changes/{seq}", least: Auditor, resource: "config"},
	{pattern: "/v1/config/versions/{sha256}", least: Auditor, resource: "config"},
	{pattern: "/v1/access/matrix", least: Auditor, resource: "access"},
	{pattern: "/v1/access/principals", least: Auditor, resource: "access"},
	{pattern: "/v1/oscal/catalog", least: Auditor, resource: "oscal"},
	{pattern: "/v1/oscal/component-definition", least: Auditor, resource: "oscal"},
	{pattern: "/v1/oscal/assessment-results", least: Auditor, resource: "oscal"},
	{pattern: "/v1/report", least: Auditor, resource: "report"},
	{pattern: "/v1/populations", least: Viewer, resource: "populations"},
	{pattern: "/v1/populations/{name}", least: Auditor, resource: "population"},
	{pattern: "/v1/populations/{name}/provenance", least: Auditor, resource: "population"},
	{pattern: "/v1/populations/{name}/sample", least: Auditor, resource: "sample"},
	{pattern: "/v1/packs", least: Auditor, resource: "packs"},
	{pattern: "/v1/packs/{id}", least: Auditor, resource: "pack"},
	{pattern: "/v1/packs/{id}.zip", least: Auditor, resource: "pack"},
	{pattern: "/v1/log/checkpoint", least: Viewer, resource: "checkpoint", state: true},
	{pattern: "/v1/log/checkpoints", least: Viewer, resource: "checkpoint"},
	{pattern: "/v1/log/key", least: Viewer, resource: "key", state: true},
	{pattern: "/v1/log/proof/inclusion", least: Viewer, resource: "proof"},
	{pattern: "/v1/log/proof/consistency", least: Viewer, resource: "proof"},
	{pattern: "/v1/log/records", least: Auditor, resource: "records"},
	{pattern: "/v1/log/records/{ref}", least: Auditor, resource: "record"},
	{pattern: "/v1/log/tile/{path...}", least: Viewer, resource: "tile", tile: true},
	{pattern: "/v1/log/tile/entries/{path...}", least: Auditor, resource: "records"},
}

// routeOf returns the route of a path below the prefix.
func routeOf(path string) route {
	if path == apiVersion {
		path += "/"
	}
	found := route{least: Auditor, resource: "unknown"}
	for _, r := range routes {
		if matches(r.pattern, path) {
			found = r // a later one is more special
		}
	}
	return found
}

func matches(pattern, path string) bool {
	for {
		name, rest, more := strings.Cut(pattern, "/")
		element, path2, more2 := strings.Cut(path, "/")
		switch {
		case strings.HasSuffix(name, "...}"):
			return path != ""
		case !fits(name, element), more != more2:
			return false
		case !more:
			return true
		}
		pattern, path = rest, path2
	}
}

// fits reports whether an element of a path is one of a pattern, which is a text,
// or a name in braces that stands for a text, with or without an ending.
func fits(name, element string) bool {
	_, ending, any := strings.Cut(name, "}")
	if !any {
		return name == element
	}
	return len(element) > len(ending) && strings.HasSuffix(element, ending)
}
