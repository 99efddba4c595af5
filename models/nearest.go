package models

import "github.com/agnivade/levenshtein"

// nearest returns the candidate with the fewest edits from name, if these are
// few enough for a slip of the keyboard.
func nearest(name string, candidates []string) (string, bool) {
	best, fewest := "", 1+max(1, len(name)/4)
	for _, c := range candidates {
		if d := levenshtein.ComputeDistance(name, c); d < fewest {
			best, fewest = c, d
		}
	}
	return best, best != ""
}
