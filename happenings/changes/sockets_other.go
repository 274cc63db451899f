//go:build !linux

package changes

import "errors"

func listening() ([]where, error) {
	return nil, errors.New("the sockets of a process cannot be seen on this system")
}
