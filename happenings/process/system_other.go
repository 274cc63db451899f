//go:build !linux

package process

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

func executable(name string) string { return name }

func kernel() string { return "" }

func clock() audit.Clock { return audit.Clock{} }

func bounds() []string {
	return []string{
		fmt.Sprint("cpus=", runtime.NumCPU()),
		fmt.Sprint("gomaxprocs=", runtime.GOMAXPROCS(0)),
		fmt.Sprint("gomemlimit=", debug.SetMemoryLimit(-1)),
	}
}

func openFiles() (n, most int64, ok bool) { return 0, 0, false }

func controlGroup(func(string) string) (n, most int64, ok bool) { return 0, 0, false }

func disk(string) (limit, bool) { return limit{}, false }
