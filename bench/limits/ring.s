// Lets this package declare functions without a body: see ring.go.
