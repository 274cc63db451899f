package export

// Cell makes text from outside safe for spreadsheets and terminals, as the cells
// of a CSV export are: what a spreadsheet would take for a formula begins with an
// apostrophe, and what does not show is written as Visible does.
func Cell(s string) string { return cell(s) }

// Visible writes bytes that are not UTF-8, control characters, marks that change
// the direction of text, and backslashes as \xHH, so that two texts that differ
// look different.
func Visible(s string) string { return visible(s) }
