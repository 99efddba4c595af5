package galvatron_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/galvani-ml/galvani/parallel/galvatron"
)

// Example searches from profiles with the engine's arguments.
func Example() {
	dir := filepath.Join("testdata", "cases")
	text, err := os.ReadFile(filepath.Join(dir, "3.0-small", "args.json"))
	if err != nil {
		fmt.Println(err)
		return
	}
	var args galvatron.Arguments
	if err := json.Unmarshal(text, &args); err != nil {
		fmt.Println(err)
		return
	}
	profile, err := galvatron.ReadProfile(os.DirFS(filepath.Join(dir, "_profiles", "small")), &args)
	if err != nil {
		fmt.Println(err)
		return
	}
	found, err := galvatron.Search(&args, profile)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%.1f ms, %v of %d MB: %s\n", 1e3*found.Cost, found.Memory, args.Budget(), found.Answer())
	// Output: 206.4 ms, [3069] of 3072 MB: 1-1-4-c x1, 1-2*-2-c x1, 1-2*-2 x1, 1-4*-1 x3
}
