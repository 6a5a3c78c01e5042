package main

import (
	"maps"
	"slices"
	"strings"
)

// What several verbs print in the same way.

// dash stands where there is nothing.
const dash = "–"

func orDash(s string) string {
	if s == "" {
		return dash
	}
	return s
}

// text is what an optional name or value prints as.
func text[T ~string](s *T) string {
	if s == nil {
		return ""
	}
	return string(*s)
}

// joined is a list of names in order.
func joined[T ~string](names []T) string { return joinedInOrder(slices.Sorted(slices.Values(names))) }

// joinedInOrder is a list of names as it stands.
func joinedInOrder[T ~string](names []T) string {
	all := make([]string, len(names))
	for i, name := range names {
		all[i] = string(name)
	}
	return strings.Join(all, ", ")
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// short is a digest for people: its first and last digits.
func (p *program) short(digest string) string {
	if _, ok := terminal(p.stdout); !ok || len(digest) < 12 {
		return digest
	}
	return digest[:6] + "…" + digest[len(digest)-4:]
}

// nearest is the candidate that differs least from s, if it differs little enough to be
// what was meant.
func nearest(s string, candidates []string) (string, bool) {
	best, least := "", max(2, len(s)/3)+1
	for _, c := range candidates {
		if d := distance(s, c); d < least {
			best, least = c, d
		}
	}
	return best, best != ""
}

// distance is the number of single-byte changes that make b of a (Levenshtein 1966).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
