package netfilter

var nftRules = []struct{ rule string }{}

func nftDoc(rule string) string { return rule }
