module github.com/caddy-soc2/caddy-soc2/bench

go 1.26.0

require (
	github.com/caddy-soc2/caddy-soc2 v0.0.0
	golang.org/x/sys v0.48.0
)

require (
	github.com/klauspost/compress v1.20.1 // indirect
	golang.org/x/mod v0.42.0 // indirect
)

replace github.com/caddy-soc2/caddy-soc2 => ../
