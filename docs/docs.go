// Package docs holds the documents that the programs themselves serve.
package docs

import _ "embed"

// RecordSchema is the JSON Schema (2020-12) of the records of a log.
//
//go:embed record.schema.json
var RecordSchema []byte
