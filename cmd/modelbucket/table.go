package main

import (
	"bufio"
	"strings"
	"unicode/utf8"
)

// table is a result in rows and columns. On a terminal the columns stand below each
// other and a line ends where the terminal does; elsewhere they are separated by tabs
// and whole.
type table struct {
	header []string
	rows   [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

const (
	columnGap = 2
	minColumn = 8 // what a column is never cut below
)

func (p *program) print(t table) error {
	columns, isTerminal := terminal(p.stdout)
	lines := [][]string{t.header}
	for _, row := range t.rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = plain(cell)
		}
		lines = append(lines, cells)
	}
	var widths []int
	if isTerminal {
		widths = fit(lines, columns)
	}
	out := bufio.NewWriter(p.stdout)
	for _, line := range lines {
		writeRow(out, line, widths)
	}
	return out.Flush()
}

// row prints one row of a table whose rows come one by one, with these widths on a
// terminal.
func (p *program) row(cells []string, widths []int) error {
	if _, isTerminal := terminal(p.stdout); !isTerminal {
		widths = nil
	}
	out := bufio.NewWriter(p.stdout)
	writeRow(out, cells, widths)
	return out.Flush()
}

// writeRow writes cells one below the other's, or, without widths, between tabs. An
// error stays with out.
func writeRow(out *bufio.Writer, cells []string, widths []int) {
	if widths == nil {
		out.WriteString(strings.Join(cells, "\t") + "\n")
		return
	}
	out.WriteString(layOut(cells, widths) + "\n")
}

// fit chooses the width of each column so that a line has no more than columns
// characters: the widest column gives first.
func fit(lines [][]string, columns int) []int {
	var widths []int
	for _, line := range lines {
		for i, cell := range line {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	total := columnGap * (len(widths) - 1)
	for _, w := range widths {
		total += w
	}
	for ; total > columns; total-- {
		widest := 0
		for i, w := range widths {
			if w > widths[widest] {
				widest = i
			}
		}
		if widths[widest] <= minColumn {
			break
		}
		widths[widest]--
	}
	return widths
}

// layOut is one line of a table on a terminal.
func layOut(line []string, widths []int) string {
	var b strings.Builder
	for i, cell := range line {
		runes := []rune(cell)
		if len(runes) > widths[i] {
			runes = append(runes[:widths[i]-1], '…')
		}
		b.WriteString(string(runes))
		if i < len(line)-1 {
			b.WriteString(strings.Repeat(" ", widths[i]-len(runes)+columnGap))
		}
	}
	return strings.TrimRight(b.String(), " ")
}
