package population

// Hold makes principals keep so many names in memory, until what it returns is
// called.
func Hold(n int) func() {
	old := held
	held = n
	return func() { held = old }
}

// Visible is what a text of a record is, as shown.
func Visible(s string) string { return visible(s) }

// Members returns the values of members of a record.
func Members(list []string, record []byte) ([]string, error) {
	var p paths
	for _, path := range list {
		p.add(path)
	}
	values, err := p.read(nil, record)
	var texts []string
	for _, v := range values {
		texts = append(texts, string(v))
	}
	return texts, err
}
