package plain

import "runtime/debug"

// BuildVersion is the version of the module that the program was built from, and the Go
// release that built it.
func BuildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(unknown)"
	}
	return info.Main.Version + " " + info.GoVersion
}
