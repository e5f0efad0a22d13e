package kernel

import "testing"

// Nearly every random set loads: what the generator draws is what the tools take.
func TestGeneratorLoads(t *testing.T) {
	l := New(t)
	for _, f := range Forms() {
		bad, why, all, left := 0, "", 0, 0
		const n = 4
		for i := range uint64(n) {
			set := newGen(1, i).Set(f)
			got, _, err := l.LoadSet(set)
			all, left = all+set.count(), left+got.count()
			if err != nil {
				bad, why = bad+1, err.Error()
				if testing.Verbose() {
					t.Log(f, i, err)
				}
			}
		}
		t.Logf("%s: %d rules, %d loaded", f, all, left)
		if bad > n/2 || left < all*9/10 {
			t.Errorf("%s: %d of %d sets do not load, such as: %s", f, bad, n, why)
		}
	}
}
