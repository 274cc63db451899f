package packer_test

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
)

const (
	sampleA   = "samples/denials_seed-a"
	sampleB   = "samples/denials_seed-b"
	sampleReq = "samples/requests_" // and the hash of its seed
)

// sampleAt edits a sample in the report; they are sorted by population and seed.
func (d *doctored) sampleAt(i int, change func(s map[string]any)) {
	d.edit(pack.ReportFile, func(v map[string]any) { change(at(v, "logs", 0, "samples", i)) })
}

// insiderSamples are changes of samples.
func insiderSamples() []attack {
	cut := func(v any, n int) []any { return slices.Delete(v.([]any), n, n+1) }
	return []attack{
		{name: "a cell of a sample is changed", says: "not the one that the record gives", do: func(d *doctored) []byte {
			d.replace(d.folder+sampleA+".csv", ",403,", ",200,")
			return d.insider()
		}},
		{name: "a sampled row is left out of the table", says: sampleA, do: func(d *doctored) []byte {
			d.lines(d.folder+sampleA+".csv", drop(3))
			return d.insider()
		}},
		{name: "a sampled record is left out", says: sampleA, do: func(d *doctored) []byte {
			d.lines(d.folder+sampleA+".ndjson", drop(2))
			return d.insider()
		}},
		{name: "a sampled row is left out everywhere", says: "which the sample has", do: func(d *doctored) []byte {
			d.lines(d.folder+sampleA+".csv", drop(3))
			d.lines(d.folder+sampleA+".ndjson", drop(2))
			d.sampleAt(1, func(s map[string]any) { s["seqs"] = cut(s["seqs"], 2) })
			return d.insider()
		}},
		{name: "a row is added to a sample", says: "was not drawn", do: func(d *doctored) []byte {
			d.lines(d.folder+sampleA+".csv", func(l []string) []string { return append(l, l[len(l)-1]) })
			d.lines(d.folder+sampleA+".ndjson", func(l []string) []string { return append(l, l[len(l)-1]) })
			return d.insider()
		}},
		{name: "the sample of another seed", says: "samples", do: func(d *doctored) []byte {
			for _, end := range []string{".csv", ".ndjson"} {
				a, b := d.folder+sampleA+end, d.folder+sampleB+end
				d.files[a], d.files[b] = d.files[b], d.files[a]
			}
			d.edit(pack.ReportFile, func(v map[string]any) {
				a, b := at(v, "logs", 0, "samples", 1), at(v, "logs", 0, "samples", 2)
				a["seqs"], b["seqs"] = b["seqs"], a["seqs"]
			})
			return d.insider()
		}},
		{name: "the seed is changed", says: "seed-c", do: func(d *doctored) []byte {
			d.manifest.Samples[2].Seed = "seed-c"
			d.sampleAt(2, func(s map[string]any) { s["seed"] = "seed-c" })
			for _, end := range []string{".csv", ".ndjson"} {
				d.files[d.folder+"samples/denials_seed-c"+end] = d.files[d.folder+sampleB+end]
				delete(d.files, d.folder+sampleB+end)
			}
			return d.insider()
		}},
		{name: "the seed in the report", says: "samples[1].seed", do: func(d *doctored) []byte {
			d.sampleAt(1, func(s map[string]any) { s["seed"] = "seed-x" })
			return d.insider()
		}},
		{name: "fewer rows than were asked for", says: "samples", do: func(d *doctored) []byte {
			d.sampleAt(1, func(s map[string]any) { s["n"] = json.Number("4"); s["seqs"] = cut(s["seqs"], 0) })
			return d.insider()
		}},
		{name: "the population that a sample is of", says: "samples[1].of", do: func(d *doctored) []byte {
			d.sampleAt(1, func(s map[string]any) { s["of"] = json.Number("5") })
			return d.insider()
		}},
		{name: "a sample is not in the manifest", says: "does not have the samples", do: func(d *doctored) []byte {
			d.manifest.Samples = d.manifest.Samples[1:]
			return d.insider()
		}},
		{name: "a sample twice in the manifest", says: "there twice", do: func(d *doctored) []byte {
			d.manifest.Samples = append(slices.Clone(d.manifest.Samples[:1]), d.manifest.Samples...)
			return d.insider()
		}},
		{name: "a seed that is a path", says: "population", do: func(d *doctored) []byte {
			d.manifest.Samples[0].Population = "../denials"
			return d.insider()
		}},
		{name: "a proof in a sample", says: "does not lead to the root", do: func(d *doctored) []byte {
			d.lines(d.folder+sampleA+".csv", func(l []string) []string {
				row := strings.TrimSuffix(l[2], "\r\n")
				i := strings.LastIndexAny(row, ", ")
				l[2] = row[:i+1] + b64(make([]byte, 32)) + "\r\n"
				return l
			})
			return d.insider()
		}},
		{name: "a proof in a sample is left out", says: "does not lead to the root", do: func(d *doctored) []byte {
			d.lines(d.folder+sampleA+".csv", func(l []string) []string {
				l[2] = l[2][:strings.LastIndexByte(l[2], ',')+1] + "\r\n"
				return l
			})
			return d.insider()
		}},
		{name: "a sampled record is changed", says: sampleA, do: func(d *doctored) []byte {
			d.lines(d.folder+sampleA+".ndjson", func(l []string) []string { return change(l, 0, `"status":`, `"status":1`) })
			return d.insider()
		}},
		{name: "a sampled record is of another population", says: "", do: func(d *doctored) []byte {
			d.lines(d.folder+sampleA+".ndjson", func(l []string) []string {
				other := strings.SplitAfter(string(d.files[d.one(sampleReq)[:len(d.one(sampleReq))-4]+".ndjson"]), "\n")
				l[0] = other[0]
				return l
			})
			return d.insider()
		}},
		{name: "without raw records, a sampled request is changed", sums: true, says: sampleReq, do: func(d *doctored) []byte {
			name := strings.TrimSuffix(d.one(sampleReq), ".csv") + ".ndjson"
			d.lines(name, func(l []string) []string { return change(l, 1, `"bytes":`, `"bytes":1`) })
			return d.insider()
		}},
		{name: "without raw records, a sampled request is left out", sums: true, says: "too few rows", do: func(d *doctored) []byte {
			name := strings.TrimSuffix(d.one(sampleReq), ".csv")
			d.lines(name+".csv", drop(3))
			d.lines(name+".ndjson", drop(2))
			d.sampleAt(3, func(s map[string]any) { s["seqs"] = cut(s["seqs"], 2) })
			return d.insider()
		}},
		{name: "without raw records, a sampled row is there twice", sums: true, says: "not in order", do: func(d *doctored) []byte {
			d.sampleAt(3, func(s map[string]any) { l := s["seqs"].([]any); l[2] = l[1] })
			return d.insider()
		}},
		{name: "without raw records, a sample of denials", sums: true, says: "which the sample has", do: func(d *doctored) []byte {
			d.lines(d.folder+sampleA+".csv", drop(3))
			d.lines(d.folder+sampleA+".ndjson", drop(2))
			d.sampleAt(1, func(s map[string]any) { s["seqs"] = cut(s["seqs"], 2) })
			return d.insider()
		}},
	}
}

// insiderReviews are changes of what people decided, and of the tables that repeat
// the report.
func insiderReviews() []attack {
	figures := func(name, says string, change func(f map[string]any)) attack {
		return attack{name: name, says: says, do: func(d *doctored) []byte { return d.figures(change) }}
	}
	file := func(name, path, old, new string) attack {
		return attack{name: name, says: path, do: func(d *doctored) []byte {
			d.replace(path, old, new)
			return d.insider()
		}}
	}
	return []attack{
		figures("the verdict of a triage", "findings[0].triage.verdict", func(f map[string]any) { at(f, "findings", 0, "triage")["verdict"] = "benign" }),
		figures("who triaged a finding", "findings[0].triage.by", func(f map[string]any) { at(f, "findings", 0, "triage")["by"] = "uid:0(root)" }),
		figures("a triage that nobody made", "triage", func(f map[string]any) {
			at(f, "findings", 2)["triage"] = at(f, "findings", 0, "triage")
		}),
		figures("a finding is left out", "findings", func(f map[string]any) { f["findings"] = f["findings"].([]any)[1:] }),
		figures("a finding is closed", "findings[2].closed", func(f map[string]any) { at(f, "findings", 2)["closed"] = "2026-01-03T12:00:00.000000000Z" }),
		figures("more findings", "more_findings", func(f map[string]any) { f["more_findings"] = json.Number("3") }),
		figures("an accepted risk is left out", "accepted_risks", func(f map[string]any) { f["accepted_risks"] = []any{} }),
		figures("an accepted risk expires later", "accepted_risks[0].expires", func(f map[string]any) {
			at(f, "accepted_risks", 0)["expires"] = "2027-01-01T00:00:00.000000000Z"
		}),
		file("the verdict in the table of findings", pack.FindingsFile, "incident", "benign"),
		file("a formula in the table of findings", pack.FindingsFile, "'=a call", "=a call"),
		file("who accepted a risk, in the table", pack.RisksFile, "uid:1000(alice)", "uid:0(root)"),
		file("a number in the table of days", pack.DailyFile, "2026-01-03,", "2026-01-03,1"),
		file("a number in the tables of requests", pack.TablesFile, "status,403,", "status,403,1"),
		file("an upstream in its table", pack.UpstreamsFile, ",down,", ",up,"),
		{name: "the table of findings is missing", says: "is missing", do: func(d *doctored) []byte {
			delete(d.files, pack.FindingsFile)
			return d.insider()
		}},
		{name: "the record of a triage is changed", says: "do not have the root", do: func(d *doctored) []byte {
			d.lines(d.one("records/"), func(l []string) []string {
				return change(l, find(l, `"verdict":"incident"`), `"verdict":"incident"`, `"verdict":"benign"`)
			})
			return d.insider()
		}},
		{name: "without raw records, a triage is left out", sums: true, says: "", do: func(d *doctored) []byte {
			d.lines(d.one("known/"), func(l []string) []string { return drop(find(l, `"verdict":"incident"`))(l) })
			return d.insider()
		}},
	}
}
