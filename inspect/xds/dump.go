package xds

import (
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/meshtop/meshtop/inspect/xds/api"
)

// Dump is the configuration dump of an Envoy that was started with the file and got nothing
// else. An error names the file and the place; one that a control plane would add to is an
// error too, since what it has not is then not what Envoy has not.
func Dump(file string, data []byte) ([]byte, error) {
	b := fresh(bootstrapType)
	if err := readMessage(file, data, b); err != nil {
		return nil, err
	}
	if b.has("dynamic_resources.lds_config") || b.has("dynamic_resources.cds_config") {
		return nil, fmt.Errorf("%s: it has dynamic_resources: what Envoy has besides comes from a control plane", file)
	}
	boot, err := printed(b, false)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	static := func(list, field string) ([]any, error) {
		out := []any{}
		for _, o := range b.list("static_resources." + list) {
			m, err := printed(o, true)
			if err != nil {
				return nil, fmt.Errorf("%s: %s %s: %w", file, field, o.text("name"), err)
			}
			out = append(out, map[string]any{field: m})
		}
		return out, nil
	}
	listeners, err := static("listeners", "listener")
	if err != nil {
		return nil, err
	}
	clusters, err := static("clusters", "cluster")
	if err != nil {
		return nil, err
	}
	const admin = "type.googleapis.com/envoy.admin.v3."
	return json.MarshalIndent(map[string]any{"configs": []any{
		map[string]any{"@type": admin + "BootstrapConfigDump", "bootstrap": boot},
		map[string]any{"@type": admin + "ClustersConfigDump", "static_clusters": clusters},
		map[string]any{"@type": admin + "ListenersConfigDump", "static_listeners": listeners},
		map[string]any{"@type": admin + "RoutesConfigDump"},
	}}, "", " ")
}

// printed is a message as Envoy prints it: the fields by their names in the API; typed: as it
// stands in an Any.
func printed(o object, typed bool) (map[string]any, error) {
	raw, err := protojson.MarshalOptions{UseProtoNames: true, Resolver: api.Types{}}.Marshal(o.Interface())
	if err != nil {
		return nil, err
	}
	out := map[string]any{}
	if err := json.Unmarshal(raw, &out); err != nil {
		return nil, err
	}
	if typed {
		out["@type"] = "type.googleapis.com/" + string(o.Descriptor().FullName())
	}
	return out, nil
}
