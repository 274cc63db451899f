package segment

import "bytes"

// Commit returns the index of the first record of the commit that wrote a
// record. When it is known, all records before it are durable: a commit is
// durable before the next one is written.
func Commit(record []byte) (first int64, ok bool) {
	if !bytes.HasPrefix(record, []byte(recordHead)) {
		return 0, false
	}
	seq, pos, ok := numbers(record)
	return seq - pos, ok
}
