package main

// shots are the pictures.
func shots() []shot {
	mesh := func(more ...string) []string { return append([]string{"demo", "mesh"}, more...) }
	return []shot{
		{"trace", 100, 30, false, mesh(), []step{{"20 steps", "jj"}, {"step 3 nat OUTPUT", ""}}},
		{"trace-light", 100, 30, true, mesh(), []step{{"20 steps", "jj"}, {"step 3 nat OUTPUT", ""}}},
		{"narrow", 80, 24, false, mesh(), []step{{"20 steps", "jjjjjjjjjjj"}, {"step 12 route", ""}}},
		{"overview", 140, 34, false, mesh(), []step{{"20 steps", "1"}, {"live connections", ""}}},
		{"request", 100, 30, false, mesh(), []step{{"20 steps", "e"}, {"▸ Request", ""}}},
		{"config", 100, 30, false, mesh(), []step{{"20 steps", "jjjjjjjjjjjy"}, {"▸ Config", ""}}},
		{"confirm", 120, 36, false, mesh(), []step{{"20 steps", "w"}, {"what to watch", "w"}, {"as predicted", ""}}},
		{"blocked", 100, 30, false, []string{"demo", "block-all"}, []step{{"12 steps", "G"}, {"step 12 endpoint", ""}}},
		{"beside", 120, 30, false, mesh(), []step{{"20 steps", "jj"}, {"step 3 nat OUTPUT", "i"}, {"leaves by eth0", "d"}, {"Compare with", "\r"}, {"first difference", ""}}},
		{"palette", 100, 30, false, mesh(), []step{{"20 steps", ":"}, {"Go to / do", "route"}, {"Go to / do", ""}}},
	}
}
