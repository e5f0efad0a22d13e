package config

import (
	"fmt"
	"strings"
)

// Show writes settings as a file that says the same, with a word on each.
func (s Settings) Show() string {
	var b strings.Builder
	fmt.Fprintf(&b, "theme: %s   # %s\n", quoted(string(s.Theme)), strings.Join(themes(), ", "))
	fmt.Fprintf(&b, "color: %s   # auto, never\n", s.Color)
	fmt.Fprintf(&b, "ascii: %s   # auto: where the locale is not UTF-8; true, false\n", s.ASCII)
	fmt.Fprintf(&b, "mouse: %v   # false leaves it to the terminal\n", s.Mouse)
	var danger []string
	for _, p := range s.Danger {
		danger = append(danger, quoted(p.Text))
	}
	fmt.Fprintf(&b, "danger: [%s]   # names of contexts, such as prod-*\n", strings.Join(danger, ", "))
	b.WriteString("keys:\n")
	for _, a := range s.Keys.Acts() {
		var keys []string
		for _, k := range a.Keys {
			keys = append(keys, quoted(k))
		}
		fmt.Fprintf(&b, "  %-44s # %s\n", a.Name+": ["+strings.Join(keys, ", ")+"]", strings.TrimSuffix(a.On+": "+a.Help, ": "))
	}
	return b.String()
}

// quoted is a text as YAML reads it back: the double quotes of YAML know what those of Go
// write.
func quoted(s string) string {
	bare := s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz-") == "" && s[0] != '-'
	if bare && s != "n" && s != "y" && s != "null" && s != "true" && s != "false" && s != "no" && s != "yes" && s != "on" && s != "off" {
		return s
	}
	return fmt.Sprintf("%q", s)
}

// TableMarkdown is the key map as a table for documents.
func (s Settings) TableMarkdown() string {
	var b strings.Builder
	b.WriteString("| name | keys | does | where |\n|---|---|---|---|\n")
	for _, a := range s.Keys.Acts() {
		var keys []string
		for _, k := range a.Keys {
			keys = append(keys, "`"+k+"`")
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", a.Name, strings.Join(keys, " "), a.Help, a.On)
	}
	return b.String()
}
