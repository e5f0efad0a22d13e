package saved

import (
	"archive/zip"
	_ "embed" // scenes.zip, observed.zip
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/archive"
)

// scenesZip holds one folder a scene: recordings of a real Envoy 1.40 and a real kernel,
// as they were written.
//
//go:embed scenes.zip
var scenesZip string

// observedZip holds what was seen while some of the scenes were recorded: captures, conntrack
// events and Envoy's log, so that a trace can be confirmed with no pod.
//
//go:embed observed.zip
var observedZip string

// Scene is a built-in recording with a request that shows what it is about.
type Scene struct {
	Name     string
	About    string   // one sentence
	Requests []string // in the JSON form of a request; the first is the one to show
}

// Scenes are the built-in recordings, in the order in which a newcomer reads them.
func Scenes() []Scene {
	return []Scene{
		{"inbound", "A request to port 80 of the pod is redirected to Envoy, which passes it to the application.",
			[]string{in("10.244.1.7:80", "10.244.1.7", "/")}},
		{"block-all", "Every outbound TCP connection is captured and meets a cluster without endpoints.",
			[]string{out("10.107.42.16:80", "10.107.42.16", "/")}},
		{"allow-all", "Every outbound TCP connection is captured and goes on to where it was going.",
			[]string{out("10.107.42.16:80", "10.107.42.16", "/")}},
		{"mesh", "One address has a listener of its own, and the capturing listener hands over to it.",
			[]string{out("10.107.42.16:80", "10.107.42.16", "/")}},
		{"header-match", "A gateway chooses the cluster by a header: version v2 goes to v2, all else to v1.",
			[]string{in("10.244.1.7:8080", "app.shadow.com", "/", "version", "v2")}},
		{"tcp-ratelimit", "A gateway resets connections when the listener's one token bucket is empty.",
			[]string{in("10.244.1.7:8080", "10.244.1.7:8080", "/")}},
		{"http-ratelimit", "A gateway answers 429 for one route when that route's token bucket is empty.",
			[]string{in("10.244.1.7:8080", "10.244.1.7:8080", "/aa")}},
		{"weights", "A gateway splits one route between two clusters by weight.",
			[]string{in("10.244.1.7:8080", "app.shadow.com", "/")}},
		{"auth", "A lua script asks an authorization service before the route is followed.",
			[]string{in("10.244.1.7:8080", "app.shadow.com", "/", "authorization", "Bearer good")}},
		{"both", "One pod with both directions captured, as a mesh does it.",
			[]string{out("10.107.42.16:80", "10.107.42.16", "/"), in("10.244.0.36:80", "10.244.0.36", "/")}},
	}
}

// out is a GET made by the application, uid 1000.
func out(dst, authority, path string) string {
	return fmt.Sprintf(`{"direction":"outbound","dst":%q,"uid":1000,"gid":1000,"http":{"method":"GET","authority":%q,"path":%q}}`, dst, authority, path)
}

// in is a GET from outside, with at most one header.
func in(dst, authority, path string, header ...string) string {
	headers := ""
	if len(header) == 2 {
		headers = fmt.Sprintf(`[%q,%q]`, header[0], header[1])
	}
	src := "10.244.1.1:0"
	if strings.HasPrefix(dst, "10.244.0.") {
		src = "10.244.0.1:0"
	}
	return fmt.Sprintf(`{"direction":"inbound","src":%q,"dst":%q,"http":{"method":"GET","authority":%q,"path":%q,"headers":[%s]}}`, src, dst, authority, path, headers)
}

// Demo opens a built-in scene.
func Demo(name string) (*Pod, Scene, error) {
	var names []string
	for _, s := range Scenes() {
		names = append(names, s.Name)
		if s.Name != name {
			continue
		}
		files, err := scene(name)
		if err != nil {
			return nil, s, fmt.Errorf("scene %s: %w", name, err)
		}
		p := New("demo "+name, files)
		if p.seen, err = observed(name); err != nil {
			return nil, s, fmt.Errorf("scene %s: what was seen: %w", name, err)
		}
		return p, s, nil
	}
	return nil, Scene{}, fmt.Errorf("scene %q: %w: there are %s", name, inspect.ErrNotFound, strings.Join(names, ", "))
}

func scene(name string) (map[string][]byte, error) {
	mine, err := folder(scenesZip, name)
	if err != nil {
		return nil, err
	}
	return archive.FromZip(&zip.Reader{File: mine})
}

// folder are the files of one folder of a zip.
func folder(all, name string) ([]*zip.File, error) {
	zr, err := zip.NewReader(strings.NewReader(all), int64(len(all)))
	if err != nil {
		return nil, err
	}
	var mine []*zip.File
	for _, f := range zr.File {
		if strings.HasPrefix(f.Name, name+"/") {
			mine = append(mine, f)
		}
	}
	return mine, nil
}

// observed is what was seen of a scene's traffic; of some there is nothing.
func observed(name string) (inspect.Files, error) {
	mine, err := folder(observedZip, name)
	if err != nil {
		return nil, err
	}
	out := inspect.Files{}
	for _, f := range mine {
		r, err := f.Open()
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil {
			return nil, err
		}
		out[strings.TrimPrefix(f.Name, name+"/")] = data
	}
	return out, nil
}
