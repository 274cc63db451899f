//go:build race

package personal

func init() { raceDetector = true }
