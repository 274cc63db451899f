package packer_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
)

// attacks lists ways to doctor a pack. foreign is a pack of another log with the
// same name.
func attacks(foreign []byte) []attack {
	return append(append(append(containers(), strangers(foreign)...), insiders(foreign)...), pages()...)
}

// containers are tricks with the ZIP file, by anybody.
func containers() []attack {
	end := func(b []byte) []byte { return b[len(b)-22:] }
	return []attack{
		{name: "data behind the end", do: func(d *doctored) []byte { return append(d.zipped(), "more"...) }, says: "does not end"},
		{name: "data before the beginning", do: func(d *doctored) []byte { return append([]byte("MZ"), d.zipped()...) }, says: "container"},
		{name: "cut off", do: func(d *doctored) []byte { b := d.zipped(); return b[:len(b)-100] }, says: "does not end"},
		{name: "empty file", do: func(*doctored) []byte { return nil }, says: "0 bytes"},
		{name: "not a ZIP file", do: func(*doctored) []byte { return bytes.Repeat([]byte("x"), 4096) }, says: "does not end"},
		{name: "comment", do: func(d *doctored) []byte {
			b := d.zipped()
			binary.LittleEndian.PutUint16(end(b)[20:], 4)
			return append(b, "hide"...)
		}, says: "does not end"},
		{name: "written by another program", do: func(d *doctored) []byte { return d.library(func(*zip.Writer) {}) }, says: "container"},
		{name: "a name twice", do: func(d *doctored) []byte {
			return d.raw(pack.ReportFile, pack.ReportFile)
		}, says: "there twice"},
		{name: "path traversal", do: func(d *doctored) []byte { return d.raw(pack.ReportFile, "../../x.json") }, says: "none that a file"},
		{name: "absolute path", do: func(d *doctored) []byte { return d.raw(pack.ReportFile, "/etc/x") }, says: "none that a file"},
		{name: "backslashes", do: func(d *doctored) []byte { return d.raw(pack.ReportFile, `..\x`) }, says: "none that a file"},
		{name: "a NUL in a name", do: func(d *doctored) []byte { return d.raw(pack.ReportFile, "report.json\x00.txt") }, says: "none that a file"},
		{name: "capitals", do: func(d *doctored) []byte { return d.raw(pack.ReadmeFile, "Report.json") }, says: "capitals"},
		{name: "a file that is a folder", do: func(d *doctored) []byte { return d.raw(pack.ReportFile, "report.json/x") }, says: "folder"},
		{name: "a hidden file", do: func(d *doctored) []byte { return d.raw(pack.ReportFile, ".hidden") }, says: "none that a file"},
		{name: "local header of another name", do: func(d *doctored) []byte {
			b := d.zipped()
			i := bytes.Index(b, []byte(pack.ReportFile))
			b[i] = 'R'
			return b
		}, says: "local header"},
		{name: "encrypted flag", do: func(d *doctored) []byte {
			b := d.zipped()
			i := bytes.LastIndex(b, []byte(pack.ReportFile)) - 46
			b[i+8] |= 1
			return b
		}, says: "members that a pack does not have"},
		{name: "a symbolic link", do: func(d *doctored) []byte {
			b := d.zipped()
			i := bytes.LastIndex(b, []byte(pack.ReportFile)) - 46
			binary.LittleEndian.PutUint32(b[i+38:], 0o120777<<16)
			return b
		}, says: "members that a pack does not have"},
		{name: "a file longer than it says", do: func(d *doctored) []byte {
			return d.sized(pack.ReportFile, -1)
		}, says: "bytes"},
		{name: "a bomb", do: func(d *doctored) []byte {
			d.files["README.txt"] = make([]byte, 64<<20)
			return d.zipped()
		}, says: "bytes"},
		{name: "a bomb for a manifest", do: func(d *doctored) []byte {
			d.files[pack.ManifestFile] = make([]byte, 65<<20)
			return d.zipped()
		}, says: "more than"},
		{name: "no envelope", do: func(d *doctored) []byte { delete(d.files, pack.EnvelopeFile); return d.zipped() }, says: "last files"},
		{name: "deflate stream goes on", do: func(d *doctored) []byte { return d.padded(pack.ReportFile) }, says: "not what the directory says"},
	}
}

// raw adds a file with any name to the container, behind the file before it in
// the directory.
func (d *doctored) raw(behind, name string) []byte {
	d.t.Helper()
	return d.build(func(n string, add func(name string, packed, content []byte)) {
		if n == behind {
			content := []byte("{}")
			add(name, deflate(d.t, content), content)
		}
	})
}

// padded adds bytes behind the deflate stream of a file.
func (d *doctored) padded(name string) []byte {
	content := d.files[name]
	delete(d.files, name)
	return d.build(func(n string, add func(name string, packed, content []byte)) {
		if n == "report.html" {
			add(name, append(deflate(d.t, content), "hidden"...), content)
		}
	})
}

// sized changes the size that headers give of a file.
func (d *doctored) sized(name string, by int) []byte {
	content := d.files[name]
	delete(d.files, name)
	return d.build(func(n string, add func(name string, packed, content []byte)) {
		if n == "report.html" {
			add(name, deflate(d.t, content), content[:len(content)+by])
		}
	})
}

// build writes a container by hand. more is called behind each file.
func (d *doctored) build(more func(name string, add func(name string, packed, content []byte))) []byte {
	d.t.Helper()
	var b, directory []byte
	count := uint16(0)
	le := binary.LittleEndian
	add := func(name string, packed, content []byte) {
		var h []byte
		for _, v := range []uint16{20, 0, 8, 0, 0x21} {
			h = le.AppendUint16(h, v)
		}
		h = le.AppendUint32(h, crc32.ChecksumIEEE(content))
		h = le.AppendUint32(h, uint32(len(packed)))
		h = le.AppendUint32(h, uint32(len(content)))
		h = le.AppendUint16(h, uint16(len(name)))
		h = le.AppendUint16(h, 0)
		directory = append(le.AppendUint16(append(directory, "PK\x01\x02"...), 20), h...)
		directory = append(directory, make([]byte, 10)...)
		directory = append(le.AppendUint32(directory, uint32(len(b))), name...)
		b = append(append(append(append(b, "PK\x03\x04"...), h...), name...), packed...)
		count++
	}
	for _, name := range d.order() {
		add(name, deflate(d.t, d.files[name]), d.files[name])
		more(name, add)
	}
	at, n := len(b), len(directory)
	b = append(append(append(b, directory...), "PK\x05\x06"...), 0, 0, 0, 0)
	b = le.AppendUint16(le.AppendUint16(b, count), count)
	b = le.AppendUint32(le.AppendUint32(b, uint32(n)), uint32(at))
	return le.AppendUint16(b, 0)
}

// strangers are changes by who has no key of the log.
func strangers(foreign []byte) []attack {
	return []attack{
		{name: "a record is changed", do: func(d *doctored) []byte {
			d.replace(d.one("records/"), `"status":403`, `"status":200`)
			return d.zipped()
		}, says: "SHA-256"},
		{name: "a file is left out", do: func(d *doctored) []byte { delete(d.files, d.folder+"populations/denials.csv"); return d.zipped() }, says: "is missing"},
		{name: "a file is added", do: func(d *doctored) []byte { d.files["notes.txt"] = []byte("x"); return d.zipped() }, says: "not in manifest.json"},
		{name: "two files are swapped", do: func(d *doctored) []byte {
			a, b := d.folder+"populations/denials.csv", d.folder+"populations/limited.csv"
			d.files[a], d.files[b] = d.files[b], d.files[a]
			return d.zipped()
		}, says: "bytes, but manifest.json says"},
		{name: "signed with another key", do: func(d *doctored) []byte { return d.sign(d.other.key) }, says: "no signature by a key that was given"},
		{name: "the manifest is edited", do: func(d *doctored) []byte {
			d.edit(pack.ManifestFile, func(v map[string]any) { v["generator"] = "x" })
			return d.zipped()
		}, says: "what is signed is not"},
		{name: "the period in the manifest is shorter", do: func(d *doctored) []byte {
			d.manifest.Period.From = d.manifest.Period.From.Add(3600e9)
			d.manifest.PackID = d.manifest.ID()
			d.files[pack.ManifestFile], _ = d.manifest.Marshal()
			return d.zipped()
		}, says: "what is signed is not"},
		{name: "the envelope of another pack", do: func(d *doctored) []byte {
			files, _ := unpack(d.t, foreign)
			d.files[pack.EnvelopeFile] = files[pack.EnvelopeFile]
			return d.zipped()
		}, says: "no signature by a key that was given"},
		{name: "a flipped signature", do: func(d *doctored) []byte {
			d.edit(pack.EnvelopeFile, func(v map[string]any) {
				at(v, "signatures", 0)["sig"] = b64(make([]byte, 64))
			})
			return d.zipped()
		}, says: "does not verify"},
		{name: "no signature", do: func(d *doctored) []byte {
			d.edit(pack.EnvelopeFile, func(v map[string]any) { v["signatures"] = []any{} })
			return d.zipped()
		}, says: "no signature"},
		{name: "a name twice in the manifest", do: func(d *doctored) []byte {
			d.replace(pack.ManifestFile, "{", `{"full": false,`)
			return d.zipped()
		}, says: "there twice"},
		{name: "a payload of another type", do: func(d *doctored) []byte {
			d.edit(pack.EnvelopeFile, func(v map[string]any) { v["payloadType"] = "text/plain" })
			return d.zipped()
		}, says: "not an envelope"},
		{name: "another log whole", do: func(*doctored) []byte { return foreign }, says: "no signature by a key that was given"},
	}
}

// insiders are changes by who holds the log's key, and signs what was changed.
func insiders(foreign []byte) []attack {
	report := func(name, says string, change func(f map[string]any)) attack {
		return attack{name: name, says: says, do: func(d *doctored) []byte { return d.figures(change) }}
	}
	number := func(n int) json.Number { return json.Number(fmt.Sprint(n)) }
	return append([]attack{
		report("a count in the report", "requests.total is 7", func(f map[string]any) { at(f, "requests")["total"] = number(7) }),
		report("a status in the report", "requests.by.status.403", func(f map[string]any) { delete(at(f, "requests", "by", "status"), "403") }),
		report("a population in the report", "populations.denials.count", func(f map[string]any) { at(f, "populations", "denials")["count"] = number(0) }),
		report("failing minutes in the report", "failing_minutes", func(f map[string]any) { at(f, "checks", "TLS-001")["failing_minutes"] = "0.000" }),
		report("failing time in the report", "checks.TLS-001.ns.fail", func(f map[string]any) { at(f, "checks", "TLS-001", "ns")["fail"] = number(1) }),
		report("the result of a check in the report", "checks.AUD-001.state", func(f map[string]any) { at(f, "checks", "AUD-001")["state"] = "fail" }),
		report("a check is left out of the report", "checks.ADM-001", func(f map[string]any) { delete(at(f, "checks"), "ADM-001") }),
		report("a gap is left out of the report", "gaps", func(f map[string]any) { f["gaps"] = []any{} }),
		report("rollups in the report", "rollups.records", func(f map[string]any) { at(f, "rollups")["records"] = number(9) }),
		report("an upstream in the report", "upstreams", func(f map[string]any) { f["upstreams"] = map[string]any{} }),
		report("a day in the report", "days", func(f map[string]any) { delete(at(f, "days"), "2026-01-03") }),
		report("keys in the report", "keys", func(f map[string]any) { f["keys"] = []any{} }),
		report("lost records in the report", "lost.lost", func(f map[string]any) { at(f, "lost")["lost"] = number(1) }),
	}, append(insiderReports(), append(insiderRecords(), append(insiderSums(), append(insiderSamples(), append(insiderReviews(), splices(foreign)...)...)...)...)...)...)
}

func insiderReports() []attack {
	return []attack{
		{name: "a criterion in the report", says: "criteria", do: func(d *doctored) []byte {
			d.edit(pack.ReportFile, func(v map[string]any) {
				at(v, "criteria", 33)["state"] = "evidence collected"
				at(v, "criteria", 20)["state"] = "x"
			})
			return d.insider()
		}},
		{name: "the report of another period", says: "report.json: period", do: func(d *doctored) []byte {
			d.edit(pack.ReportFile, func(v map[string]any) { at(v, "period")["to"] = "2026-01-03T12:00:00Z" })
			return d.insider()
		}},
		{name: "a row is left out of a table", says: "denials.csv: line 3", do: func(d *doctored) []byte {
			d.lines(d.folder+"populations/denials.csv", drop(2))
			return d.insider()
		}},
		{name: "the last row is left out of a table", says: "denials.csv", do: func(d *doctored) []byte {
			d.lines(d.folder+"populations/denials.csv", func(l []string) []string { return l[:len(l)-1] })
			return d.insider()
		}},
		{name: "a row is added to a table", says: "goes on after", do: func(d *doctored) []byte {
			d.lines(d.folder+"populations/denials.csv", func(l []string) []string { return append(l, l[len(l)-1]) })
			return d.insider()
		}},
		{name: "a cell is changed", says: "requests.csv", do: func(d *doctored) []byte {
			d.replace(d.folder+"populations/requests.csv", ",403,", ",200,")
			return d.insider()
		}},
		{name: "a formula", says: "requests.csv", do: func(d *doctored) []byte {
			d.replace(d.folder+"populations/requests.csv", `'=cmd`, `=cmd`)
			return d.insider()
		}},
		{name: "a record is left out of a population", says: "config_changes.ndjson", do: func(d *doctored) []byte {
			d.files[d.folder+"populations/config_changes.ndjson"] = nil
			return d.insider()
		}},
		{name: "a forged record in a population", says: "config_changes.ndjson", do: func(d *doctored) []byte {
			d.replace(d.folder+"populations/config_changes.ndjson", "CHG-1", "CHG-2")
			return d.insider()
		}},
		{name: "the provenance of a population", says: "provenance.json", do: func(d *doctored) []byte {
			d.edit(d.folder+"populations/denials.provenance.json", func(v map[string]any) { v["rows"] = json.Number("1") })
			return d.insider()
		}},
		{name: "a population is missing", says: "is missing", do: func(d *doctored) []byte {
			delete(d.files, d.folder+"populations/limited.csv")
			return d.insider()
		}},
		{name: "the boundary", says: "boundary", do: func(d *doctored) []byte {
			d.replace(pack.BoundaryFile, "listener_wrappers", "any wrappers")
			return d.insider()
		}},
		{name: "the definitions of populations", says: "populations.json", do: func(d *doctored) []byte {
			d.replace(pack.PopulationsFile, `"403"`, `"499"`)
			return d.insider()
		}},
		{name: "the definition of a check", says: "definition of TLS-001", do: func(d *doctored) []byte {
			d.replace(pack.ChecksFile, "the floor", "no floor")
			return d.insider()
		}},
		{name: "the mapping of criteria", says: "criteria", do: func(d *doctored) []byte {
			d.edit(pack.CriteriaFile, func(v map[string]any) {
				for i := range v["criteria"].([]any) {
					at(v, "criteria", i)["strength"] = "not_assessed"
				}
			})
			return d.insider()
		}},
		{name: "a file that no pack has", says: "no such file", do: func(d *doctored) []byte {
			d.files[d.folder+"populations/extra.csv"] = []byte("a,b\r\n")
			return d.insider()
		}},
		{name: "the page", says: "report.html", only: true, do: func(d *doctored) []byte {
			d.replace(pack.PageFile, "Nothing", "Nothing at all")
			return d.insider()
		}},
		{name: "the table of results", says: "results.csv", only: true, do: func(d *doctored) []byte {
			d.replace(pack.ResultsFile, `"pass"`, `"fail"`)
			return d.insider()
		}},
	}
}

// insiderRecords are changes of the log itself.
func insiderRecords() []attack {
	root := "do not have the root"
	return []attack{
		{name: "a record is changed and signed", says: root, do: func(d *doctored) []byte {
			d.lines(d.one("records/"), func(l []string) []string { return change(l, find(l, `"status":403`), `"status":403`, `"status":200`) })
			return d.insider()
		}},
		{name: "a record is left out of the log", says: "", do: func(d *doctored) []byte {
			d.lines(d.one("records/"), drop(40))
			return d.insider()
		}},
		{name: "the last record is left out", says: "records, not", do: func(d *doctored) []byte {
			d.lines(d.one("records/"), func(l []string) []string { return l[:len(l)-1] })
			return d.insider()
		}},
		{name: "two records change places", says: "", do: func(d *doctored) []byte {
			d.lines(d.one("records/"), func(l []string) []string { l[50], l[51] = l[51], l[50]; return l })
			return d.insider()
		}},
		{name: "an unfavorable transition is changed", says: root, do: func(d *doctored) []byte {
			d.lines(d.one("records/"), func(l []string) []string {
				return change(l, find(l, `"after":"fail"`), `"after":"fail"`, `"after":"pass"`)
			})
			return d.insider()
		}},
		{name: "an unfavorable transition becomes a request", says: root, do: func(d *doctored) []byte {
			d.lines(d.one("records/"), func(l []string) []string {
				i, j := find(l, `"after":"fail"`), find(l, `"kind":"request"`)
				var seq struct{ Seq, Pos int64 }
				if err := json.Unmarshal([]byte(l[i]), &seq); err != nil {
					d.t.Fatal(err)
				}
				_, rest, _ := strings.Cut(l[j], `,"time"`)
				l[i] = recrc(strings.TrimSuffix(fmt.Sprintf(`{"v":1,"seq":%d,"pos":%d,"time"%s`, seq.Seq, seq.Pos, rest), "\n")) + "\n"
				return l
			})
			return d.insider()
		}},
		{name: "the log is cut short", says: "", do: func(d *doctored) []byte {
			d.lines(d.one("records/"), func(l []string) []string { return l[:len(l)-200] })
			d.edit(d.folder+pack.LogFile, func(v map[string]any) {
				n, _ := v["next"].(json.Number).Int64()
				p, _ := at(v, "pieces", 0)["count"].(json.Number).Int64()
				v["next"], at(v, "pieces", 0)["count"] = json.Number(fmt.Sprint(n-200)), json.Number(fmt.Sprint(p-200))
			})
			return d.insider()
		}},
		{name: "the beginning is cut off", says: "", do: func(d *doctored) []byte {
			d.edit(d.folder+pack.LogFile, func(v map[string]any) { v["first"] = json.Number("100") })
			return d.insider()
		}},
		{name: "a piece is left out", says: "missing", do: func(d *doctored) []byte {
			d.edit(d.folder+pack.LogFile, func(v map[string]any) { v["pieces"] = []any{} })
			return d.insider()
		}},
		{name: "records are said to be unreadable", says: "cannot be read", do: func(d *doctored) []byte {
			d.hide()
			return d.insider()
		}},
		{name: "hashes in a full pack", says: "full", do: func(d *doctored) []byte {
			d.hide()
			d.edit(d.folder+pack.LogFile, func(v map[string]any) { delete(at(v, "pieces", 0), "why") })
			d.files[d.folder+pack.KnownName(0)] = nil
			return d.insider()
		}},
		{name: "a checkpoint of another size", says: "", do: func(d *doctored) []byte {
			d.edit(d.folder+pack.LogFile, func(v map[string]any) { v["tree_size"] = json.Number("100000") })
			return d.insider()
		}},
		{name: "the checkpoint is missing", says: "is missing", do: func(d *doctored) []byte {
			delete(d.files, d.folder+pack.CheckpointFile)
			return d.insider()
		}},
		{name: "the checkpoint by another key", says: "not signed by the given key", do: func(d *doctored) []byte {
			d.replace(d.folder+pack.CheckpointFile, "— ", "— x")
			return d.insider()
		}},
		{name: "a segment is not listed", says: "lists no such segment", do: func(d *doctored) []byte {
			d.edit(d.folder+pack.LogFile, func(v map[string]any) { v["segments"] = v["segments"].([]any)[1:] })
			return d.insider()
		}},
		{name: "a record that is two things to two readers", says: "", do: func(d *doctored) []byte {
			d.lines(d.one("records/"), func(l []string) []string {
				return change(l, find(l, `"after":"fail"`), `"after":"fail"`, `"after":"fail","after":"pass"`)
			})
			return d.insider()
		}},
	}
}
