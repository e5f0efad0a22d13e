package session

import (
	"fmt"
	"strings"

	"github.com/meshtop/meshtop/inspect"
	"go.yaml.in/yaml/v3"
)

// podForm is what of a v1.Pod tells as whom its containers run.
type podForm struct {
	Spec struct {
		SecurityContext securityForm    `yaml:"securityContext"`
		Containers      []containerForm `yaml:"containers"`
		InitContainers  []containerForm `yaml:"initContainers"`
	} `yaml:"spec"`
}

type containerForm struct {
	Name            string       `yaml:"name"`
	SecurityContext securityForm `yaml:"securityContext"`
}

type securityForm struct {
	RunAsUser  *uint32 `yaml:"runAsUser"`
	RunAsGroup *uint32 `yaml:"runAsGroup"`
}

// Container is as whom a container's processes run, by the pod's object (v1.Pod,
// spec.securityContext and that of the container, which wins). An image's own user is
// not in there, so without runAsUser it is not known.
func Container(r Reading, name string) (uid, gid uint32, err error) {
	raw, ok := r.Files["pod.yaml"]
	if !ok {
		raw, ok = r.Files["pod.json"] // JSON is YAML
	}
	if !ok {
		return 0, 0, fmt.Errorf("%q: %w: no pod.yaml was read, so say --uid", name, inspect.ErrNotFound)
	}
	var pod podForm
	if err := yaml.Unmarshal(raw, &pod); err != nil {
		return 0, 0, fmt.Errorf("pod.yaml: %w", err)
	}
	var names []string
	for _, c := range append(pod.Spec.Containers, pod.Spec.InitContainers...) {
		names = append(names, c.Name)
		if c.Name != name {
			continue
		}
		user := first(c.SecurityContext.RunAsUser, pod.Spec.SecurityContext.RunAsUser)
		if user == nil {
			return 0, 0, fmt.Errorf("%q: its object has no runAsUser, so its image decides: say --uid", name)
		}
		if group := first(c.SecurityContext.RunAsGroup, pod.Spec.SecurityContext.RunAsGroup); group != nil {
			gid = *group
		}
		return *user, gid, nil
	}
	return 0, 0, fmt.Errorf("%q: %w: there are %s", name, inspect.ErrNotFound, strings.Join(names, ", "))
}

func first(a, b *uint32) *uint32 {
	if a != nil {
		return a
	}
	return b
}
