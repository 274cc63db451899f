package pack

import (
	"crypto/sha1" //nolint:gosec // UUIDs of version 5 are made with it (RFC 9562, section 5.5)
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// The OSCAL documents of a pack (OSCAL 1.2.2). There is an observation for each
// check, and a finding for each criterion with exceptions; nothing is ever
// "satisfied", which only an auditor can say.
const (
	AssessmentFile = "oscal/assessment-results.json"
	ComponentFile  = "oscal/component-definition.json"
	CatalogFile    = "oscal/catalog.json"
)

const (
	oscalVersion = "1.2.2"
	oscalSpace   = "https://github.com/caddy-soc2/caddy-soc2/ns/oscal" // of props
)

type object = map[string]any

// uuidSpace is the namespace of the UUIDs. Part of the format.
var uuidSpace = [16]byte{0x6b, 0x1f, 0x0e, 0x52, 0x83, 0x5d, 0x4b, 0x0f, 0x9a, 0x6e, 0x2c, 0x7d, 0x41, 0x55, 0xc2, 0x0a}

// uuid names a thing: the same name gives the same UUID (RFC 9562, section 5.5).
func uuid(parts ...string) string {
	h := sha1.New() //nolint:gosec // see the import
	h.Write(uuidSpace[:])
	h.Write([]byte(strings.Join(parts, "\n")))
	b := h.Sum(nil)[:16]
	b[6] = b[6]&0x0f | 0x50
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func prop(name, value string) object {
	return object{"name": name, "ns": oscalSpace, "value": phrase(value)}
}

// phrase is a text as OSCAL takes it: in a line, with something in it.
func phrase(s string) string {
	if s = strings.TrimSpace(Visible(s)); s == "" {
		return "-"
	}
	return s
}

// addOSCAL adds the documents for machines.
func addOSCAL(made map[string][]byte, r *Report, m *Manifest, criteria []byte, definitions [][]byte) error {
	var c mapping
	if err := json.Unmarshal(criteria, &c); err != nil {
		return err
	}
	titles := map[string]definition{}
	for _, line := range definitions {
		var d definition
		if err := json.Unmarshal(line, &d); err != nil {
			return err
		}
		titles[d.ID] = d
	}
	o := oscal{r, m, &c, titles}
	for name, v := range map[string]any{
		AssessmentFile: object{"assessment-results": o.results()},
		ComponentFile:  object{"component-definition": o.component()},
		CatalogFile:    object{"catalog": o.catalog()},
	} {
		b, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			return err
		}
		made[name] = append(b, '\n')
	}
	return nil
}

type oscal struct {
	r       *Report
	m       *Manifest
	mapping *mapping
	checks  map[string]definition
}

func (o *oscal) metadata(title string) object {
	return object{
		"title": title, "last-modified": o.r.Period.To.UTC().Format(time.RFC3339), "version": o.r.PackID, "oscal-version": oscalVersion,
		"remarks": Notice,
	}
}

func (o *oscal) results() object {
	observations, byCheck := []any{}, map[string][]string{}
	for i := range o.r.Logs {
		f := &o.r.Logs[i]
		for _, id := range slices.Sorted(maps.Keys(f.Checks)) {
			ref := uuid(o.r.PackID, "observation", f.Origin, id)
			byCheck[id] = append(byCheck[id], ref)
			observations = append(observations, o.observation(ref, f, id))
		}
	}
	findings := []any{}
	for _, c := range o.r.Criteria {
		if c.State == "exceptions" {
			findings = append(findings, o.finding(c, byCheck))
		}
	}
	plan := uuid(o.r.PackID, "plan")
	result := object{
		"uuid": uuid(o.r.PackID, "result"), "title": "Evidence of the edge proxy in the period", "description": Notice,
		"start": o.r.Period.From.UTC().Format(time.RFC3339), "end": o.r.Period.To.UTC().Format(time.RFC3339),
		"reviewed-controls": object{"control-selections": []any{object{"include-controls": o.reviewed()}}},
	}
	if len(observations) > 0 {
		result["observations"] = observations
	}
	if len(findings) > 0 {
		result["findings"] = findings
	}
	return object{
		"uuid": uuid(o.r.PackID, "assessment-results"), "metadata": o.metadata("Assessment results of an edge proxy"),
		"import-ap": object{"href": "#" + plan}, "results": []any{result},
		"back-matter": object{"resources": []any{
			object{"uuid": plan, "title": "No assessment plan", "description": "Evidence is collected continuously; there is no assessment plan."},
		}},
	}
}

// reviewed lists the criteria that are assessed at all.
func (o *oscal) reviewed() (list []any) {
	for _, c := range o.r.Criteria {
		if c.State != "not assessed" {
			list = append(list, object{"control-id": c.ID})
		}
	}
	return list
}

func (o *oscal) observation(ref string, f *Figures, id string) object {
	c, at := f.Checks[id], o.r.Period.To
	if t, err := time.Parse(time.RFC3339Nano, c.Since); err == nil {
		at = t
	}
	return object{
		"uuid": ref, "title": phrase(id + " " + o.checks[id].Title), "methods": []any{"TEST"}, "types": []any{"control-objective"},
		"description": fmt.Sprintf("Result at the end of what is known of the period: %s; failing for %s minutes, unknown for %s minutes, %d changes.",
			phrase(c.State), c.FailingMinutes, minutes(c.NS[unknown]), c.Transitions),
		"collected": at.UTC().Format(time.RFC3339Nano),
		"props": []any{
			prop("check-id", id), prop("log", f.Origin), prop("result", c.State), prop("severity", c.Severity),
			prop("failing-minutes", c.FailingMinutes), prop("definition-sha256", c.Definition),
		},
		"relevant-evidence": []any{object{
			"href": "../" + Folder(f.Origin) + RowsName("check_transitions"), "description": "Records of the results of the check, each in the signed log.",
		}},
	}
}

func (o *oscal) finding(c CriterionResult, byCheck map[string][]string) object {
	related := []any{}
	for _, id := range c.Exceptions {
		for _, ref := range byCheck[id] {
			related = append(related, object{"observation-uuid": ref})
		}
	}
	return object{
		"uuid": uuid(o.r.PackID, "finding", c.ID), "title": "Exceptions for " + c.ID,
		"description": "Checks failed or warned in the period: " + strings.Join(c.Exceptions, ", "),
		"target": object{
			"type": "objective-id", "target-id": c.ID,
			"status": object{"state": "not-satisfied", "remarks": "A check had exceptions. It is for the auditor to say what that means for the criterion."},
		},
		"related-observations": related,
	}
}

func (o *oscal) component() object {
	requirements := []any{}
	for i, c := range o.mapping.Criteria {
		if c.Strength == "not_assessed" {
			continue
		}
		props := []any{prop("strength", c.Strength)}
		for _, id := range o.r.Criteria[i].Checks {
			props = append(props, prop("check-id", id))
		}
		requirements = append(requirements, object{
			"uuid": uuid("requirement", c.ID), "control-id": c.ID, "description": phrase(c.Title), "props": props, "remarks": phrase(c.Limits),
		})
	}
	return object{
		"uuid": uuid("component-definition", o.r.PackID), "metadata": o.metadata("Component definition of caddy-soc2"),
		"components": []any{object{
			"uuid": uuid("component"), "type": "software", "title": "caddy-soc2", "description": "Edge proxy that keeps a tamper-evident audit log and checks itself.",
			"control-implementations": []any{object{
				"uuid": uuid("control-implementation"), "source": "catalog.json",
				"description": "Criteria that an edge proxy can be evidence for, and the checks that are made.", "implemented-requirements": requirements,
			}},
		}},
	}
}

func (o *oscal) catalog() object {
	controls := []any{}
	for _, c := range o.mapping.Criteria {
		controls = append(controls, object{"id": c.ID, "class": "TSC", "title": phrase(c.Title)})
	}
	return object{
		"uuid": uuid("catalog", o.r.PackID), "metadata": o.metadata("Ids of the Trust Services Criteria, with this project's own titles"),
		"controls": controls,
	}
}
