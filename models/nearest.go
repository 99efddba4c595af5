package models

import "github.com/agnivade/levenshtein"

// maxName bounds names that are compared with keys; these have some dozen letters.
const maxName = 100

// nearest returns the candidate with the fewest edits from name, if these are
// few enough for a slip of the keyboard.
func nearest(name string, candidates []string) (string, bool) {
	if len(name) > maxName {
		return "", false // no slip makes that of a key, and comparing takes the product of lengths
	}
	best, fewest := "", 1+max(1, len(name)/4)
	for _, c := range candidates {
		if d := levenshtein.ComputeDistance(name, c); d < fewest {
			best, fewest = c, d
		}
	}
	return best, best != ""
}
