package packer_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
)

func (d *doctored) order() []string {
	names := slices.Sorted(maps.Keys(d.files))
	names = slices.DeleteFunc(names, func(n string) bool { return n == pack.ManifestFile || n == pack.EnvelopeFile })
	return append(names, pack.ManifestFile, pack.EnvelopeFile)
}

// hide replaces the records of a piece by their hashes.
func (d *doctored) hide() {
	d.t.Helper()
	name := d.one("records/")
	var hashes []byte
	for line := range strings.Lines(string(d.files[name])) {
		sum := sha256.Sum256(append([]byte{0}, strings.TrimSuffix(line, "\n")...))
		hashes = append(hashes, sum[:]...)
	}
	delete(d.files, name)
	var first int64
	d.edit(d.folder+pack.LogFile, func(v map[string]any) {
		p := at(v, "pieces", 0)
		first, _ = p["first"].(json.Number).Int64()
		p["form"], p["file"], p["why"] = pack.Hashes, pack.HashesName(first), "the disk was damaged"
	})
	d.files[d.folder+pack.HashesName(first)] = hashes
}

// insiderSums are changes of a pack without all raw records.
func insiderSums() []attack {
	return []attack{
		{name: "without raw records, a count of a population", sums: true, says: "populations.denials", do: func(d *doctored) []byte {
			return d.figures(func(f map[string]any) { at(f, "populations", "denials")["count"] = json.Number("1") })
		}},
		{name: "without raw records, a transition is left out", sums: true, says: "records were left out", do: func(d *doctored) []byte {
			d.lines(d.one("known/"), func(l []string) []string { return drop(find(l, `"after":"fail"`))(l) })
			return d.insider()
		}},
		{name: "without raw records, a transition is changed", sums: true, says: "not the one whose hash", do: func(d *doctored) []byte {
			d.lines(d.one("known/"), func(l []string) []string {
				return change(l, find(l, `"after":"fail"`), `"after":"fail"`, `"after":"pass"`)
			})
			return d.insider()
		}},
		{name: "without raw records, a hash is changed", sums: true, says: "", do: func(d *doctored) []byte {
			d.files[d.one("hashes/")][5] ^= 1
			return d.insider()
		}},
		{name: "without raw records, a hash is left out", sums: true, says: "not the one whose hash", do: func(d *doctored) []byte {
			name := d.one("hashes/")
			d.files[name] = d.files[name][32:]
			return d.insider()
		}},
		{name: "without raw records, a forged sample", sums: true, says: "not of this piece", do: func(d *doctored) []byte {
			d.lines(d.one("known/"), func(l []string) []string { return append(l, l[3]) })
			return d.insider()
		}},
		{name: "without raw records, it says that it is full", sums: true, says: "requests.csv is missing", do: func(d *doctored) []byte {
			d.manifest.Full = true
			d.edit(pack.ReportFile, func(v map[string]any) { v["full"] = true })
			return d.insider()
		}},
	}
}

// theirs are the records of another pack.
func theirs(d *doctored, foreign []byte) []byte {
	files, _ := unpack(d.t, foreign)
	return files[(&doctored{t: d.t, files: files, folder: d.folder}).one("records/")]
}

// splices put two logs of one name together, or two histories of one log.
func splices(foreign []byte) []attack {
	return []attack{
		{name: "records of another log", says: "", do: func(d *doctored) []byte {
			d.files[d.one("records/")] = theirs(d, foreign)
			return d.insider()
		}},
		{name: "the checkpoint of another log", says: "not signed", do: func(d *doctored) []byte {
			files, _ := unpack(d.t, foreign)
			d.files[d.folder+pack.CheckpointFile] = files[d.folder+pack.CheckpointFile]
			return d.insider()
		}},
		{name: "two halves of two logs", says: "", do: func(d *doctored) []byte {
			list := strings.SplitAfter(string(theirs(d, foreign)), "\n")
			d.lines(d.one("records/"), func(l []string) []string {
				n := min(len(l), len(list)) / 2
				return append(l[:n], list[n:]...)
			})
			return d.insider()
		}},
		{name: "a checkpoint of another history", says: "two histories", do: func(d *doctored) []byte {
			var l pack.Log
			if err := json.Unmarshal(d.files[d.folder+pack.LogFile], &l); err != nil {
				d.t.Fatal(err)
			}
			d.files[d.folder+pack.CheckpointsFile] = d.checkpoint((l.First + l.Next) / 2)
			return d.insider()
		}},
		{name: "an earlier checkpoint without a proof", says: "", do: func(d *doctored) []byte {
			d.files[d.folder+pack.CheckpointsFile] = d.checkpoint(3)
			return d.insider()
		}},
		{name: "a checkpoint of more records", says: "cut short", do: func(d *doctored) []byte {
			d.files[d.folder+pack.CheckpointsFile] = d.checkpoint(1_000_000)
			return d.insider()
		}},
		{name: "a checkpoint that is damaged", says: "checkpoints", do: func(d *doctored) []byte {
			b := d.checkpoint(100)
			d.files[d.folder+pack.CheckpointsFile] = append([]byte("x"), b...)
			return d.insider()
		}},
		{name: "a log is left out of the manifest", says: "", do: func(d *doctored) []byte {
			d.manifest.Logs = []pack.LogEntry{{Heads: pack.Heads{Origin: "other", Size: 1, Root: "AAAA"}, Folder: "logs/other/"}}
			return d.insider()
		}},
		{name: "another head than was signed", says: "", do: func(d *doctored) []byte {
			d.manifest.Logs[0].Size++
			d.edit(d.folder+pack.LogFile, func(v map[string]any) { v["tree_size"] = json.Number(fmt.Sprint(d.manifest.Logs[0].Size)) })
			return d.insider()
		}},
	}
}

// checkpoint signs some root.
func (d *doctored) checkpoint(size int64) []byte {
	d.t.Helper()
	b, err := checkpoint.Sign(checkpoint.Head{Origin: d.self.key.Origin(), Size: size, Root: sha256.Sum256([]byte("other"))}, []note.Signer{d.self.key}...)
	if err != nil {
		d.t.Fatal(err)
	}
	return b
}

// pages are files that are made of the report, which only the first verifier
// makes again.
func pages() (list []attack) {
	for name, text := range map[string][2]string{
		pack.AssessmentFile: {"not-satisfied", "satisfied"}, pack.ComponentFile: {"primary", "supporting"},
		pack.CatalogFile: {"CC6.1", "CC6.9"}, pack.ReadmeFile: {"WHAT IT DOES NOT PROVE", "WHAT IT PROVES"},
	} {
		list = append(list, attack{name: "edited " + name, says: name, only: true, do: func(d *doctored) []byte {
			d.replace(name, text[0], text[1])
			return d.insider()
		}})
	}
	return list
}
