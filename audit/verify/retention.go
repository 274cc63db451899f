package verify

import (
	"encoding/json"
	"fmt"
)

// retentionWhat is what a log.erase record says that was removed.
const retentionWhat = "retention"

// erased reads a log.erase record: it says that the records before one were
// removed when their time of retention was over.
func (c *check) erased(record []byte) {
	var erase struct {
		What string `json:"what"`
		Upto int64  `json:"upto"`
	}
	if err := json.Unmarshal(record, &erase); err == nil && erase.What == retentionWhat {
		c.retained = max(c.retained, erase.Upto)
	}
}

// retention compares what is missing with what was removed by the log's own
// account.
func (c *check) retention() {
	switch {
	case c.Pruned == 0:
	case c.retained == 0:
		c.badRecord(c.oldest, 0, fmt.Sprintf("it is missing, as are all up to record %d, and no log.erase record says that they were removed", c.Pruned-1))
	case c.retained < c.Pruned:
		c.badRecord(c.oldest, c.retained, fmt.Sprintf("it is missing, as are all up to record %d, but the log says that only those before record %d were removed", c.Pruned-1, c.retained))
	default:
		c.note("records 0 to %d were removed after their time of retention, as a log.erase record says: they are verified by hash only; records %d to %d are verified in full", c.Pruned-1, c.Pruned, c.tree.Size()-1)
	}
}
