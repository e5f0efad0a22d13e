package envoy

import (
	"fmt"
	"strconv"
	"sync"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// Config is what was read of one Envoy. It is safe for concurrent traces: what a trace
// decodes is kept for the next ones, within a bound.
type Config struct {
	version     Version
	said        string // the version's text. Valid iff nobody can tell the version from it
	runtime     map[string]string
	runtimeRead bool // from /runtime, not guessed from the bootstrap
	runtimeDoc  tree.Node

	parts     []*part
	bytes     int64
	entries   []*entry // in order of the text
	rowing    sync.Once
	rowed     []row // see rows
	heads     []*listenerHead
	bootstrap *entry
	// complete are the resources that were read in whole: what is not there does not exist.
	complete   [resourceEnd]bool
	asked      map[resourceName]bool
	unmodelled map[string]*flow.NotModelled // by type
	strange    []strange                    // of those the extensions
	naming     sync.Once                    // of strange
	oddities   []flow.Gap                   // what was read all the same, and what was left out

	listeners *listeners
	clusters, warming, routes, endpoints,
	ecds, secrets, awaited map[string]*entry // awaited are secrets that did not come yet
	updates map[versionKey][]*entry // versions that were refused, still warm, or drain
	loaded  map[*entry]string       // when each that drains was loaded

	live     []liveListener
	liveRead bool
	hosts    map[string]*entry // /clusters by cluster name

	certs map[string]string // /certs by path
	maker maker

	tables sync.Map // *table by *entry, and *httpTable by tableKey: a trace may hold on to one
	cache  *cache
}

// Version is Envoy's, as /server_info gives it; zero: not known.
type Version struct{ Major, Minor, Patch int }

// atLeast says whether Envoy is this version or newer. A version that is not known counts
// as the newest that meshtop was measured against.
func (v Version) atLeast(major, minor, patch int) bool {
	if v == (Version{}) {
		return true
	}
	if v.Major != major {
		return v.Major > major
	}
	if v.Minor != minor {
		return v.Minor > minor
	}
	return v.Patch >= patch
}

// oldest and newest bound the versions that meshtop was measured against, in any patch.
var oldest, newest = Version{Major: 1, Minor: 36}, Version{Major: 1, Minor: 40}

// versionTaken is the assumption that Envoy does what the measured versions do; false: its
// version is known to be one of them.
func (c *Config) versionTaken() (flow.Assumption, bool) {
	v, text := c.version, c.said
	switch {
	case v == (Version{}):
	case v.atLeast(newest.Major, newest.Minor+1, 0) || !v.atLeast(oldest.Major, oldest.Minor, 0):
		text = v.String()
	default:
		return flow.Assumption{}, false
	}
	return flow.Assumption{Reason: flow.Because(flow.WhyVersionTaken, text, fmt.Sprintf("%d.%d", oldest.Major, oldest.Minor), fmt.Sprintf("%d.%d", newest.Major, newest.Minor))}, true
}

// found says how a look-up by name went.
type found uint8

const (
	unread  found = iota // that part was not read: a flow.Need brings it
	absent               // it does not exist
	present              // it does
)

// Parts of a flow.Need.
const (
	partListener  = "listener"
	partRoute     = "route"
	partCluster   = "cluster"
	partEndpoints = "endpoints"
	partECDS      = "ecds"   // the configuration of a filter
	partSecret    = "secret" // the trace goes on without, and says less of certificates
)

// value is a runtime key's final value; false where no layer sets it.
func (c *Config) value(key string) (string, bool) {
	v, ok := c.runtime[key]
	return v, ok
}

// guard is a runtime guard (envoy.reloadable_features.NAME), whose default is dflt.
func (c *Config) guard(name string, dflt bool) bool {
	switch v, _ := c.value("envoy.reloadable_features." + name); v {
	case "true", "1":
		return true
	case "false", "0":
		return false
	}
	return dflt
}

// String is the version as 1.40.0.
func (v Version) String() string {
	return strconv.Itoa(v.Major) + "." + strconv.Itoa(v.Minor) + "." + strconv.Itoa(v.Patch)
}
