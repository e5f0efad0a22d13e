package kernel

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every packet on which the kernel once disagreed, and how it judged. It needs no root.
func TestRecorded(t *testing.T) {
	paths, err := filepath.Glob("../../rules/testdata/kernel/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			c, err := ReadCase(data)
			if err != nil {
				t.Fatal(err)
			}
			answers, err := c.Files.Answers(c.Packet)
			if err != nil {
				t.Fatal(err)
			}
			// Where no reading tells, the only right answer is doubt.
			doubt := strings.HasPrefix(c.Sentence, "In doubt: ")
			if a := Judge(answers, c.Want); a == Disagree || (a == Undecided) != doubt {
				t.Errorf("%s\nmeshtop %v\nkernel  %v", c.Sentence, answers, c.Want)
			}
		})
	}
}
