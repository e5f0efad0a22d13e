package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// job is one dump with its requests.
type job struct {
	title      string
	dump, reqs string
}

// given says whether the requests are files that are there.
func (o *options) given() bool {
	_, err := strconv.Atoi(o.requests)
	return err != nil
}

// jobs are the rungs of the ladder, made where they are not there, or the files that
// -requests names.
func (o *options) jobs(dir string) (out []func() (job, error), err error) {
	if o.given() {
		given, err := givenJobs(o.requests, o.dir)
		if err != nil {
			return nil, err
		}
		for _, j := range given {
			out = append(out, func() (job, error) { return j, nil })
		}
		return out, nil
	}
	count, err := strconv.Atoi(o.requests)
	for _, r := range rungs {
		if wanted(o.rungs, r.mb) {
			out = append(out, func() (job, error) {
				dump, reqs, err := files(dir, r.mb, r.services, count)
				return job{fmt.Sprintf("%d MB, %d services", r.mb, r.services), dump, reqs}, err
			})
		}
	}
	return out, err
}

const requestsExt = ".req"

// givenJobs pairs request files with dumps: NAME.req with NAME.json; where there is only
// one dump, with that. Dumps are looked for in dir, which may be a dump itself, and where
// it is empty beside the requests. The smallest dump comes first.
func givenJobs(requests, dir string) ([]job, error) {
	reqs, err := filesIn(requests, requestsExt)
	if err != nil {
		return nil, fmt.Errorf("-requests: %w", err)
	}
	var out []job
	size := map[string]int64{}
	for _, req := range reqs {
		from := dir
		if from == "" {
			from = filepath.Dir(req)
		}
		dumps, err := filesIn(from, ".json")
		if err != nil {
			return nil, fmt.Errorf("-dir: %w", err)
		}
		name := strings.TrimSuffix(filepath.Base(req), requestsExt)
		dump := filepath.Join(from, name+".json")
		if !slices.Contains(dumps, dump) {
			if len(dumps) != 1 {
				return nil, fmt.Errorf("%s: no dump for it: want %s, or only one dump there", req, dump)
			}
			dump = dumps[0]
		}
		st, err := os.Stat(dump)
		if err != nil {
			return nil, err
		}
		size[dump] = st.Size()
		out = append(out, job{name, dump, req})
	}
	slices.SortStableFunc(out, func(a, b job) int { return int(size[a.dump] - size[b.dump]) })
	return out, nil
}

// filesIn are the files of a folder whose names end so; path itself where it is a file.
func filesIn(path, ext string) (out []string, err error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !e.IsDir() && strings.HasSuffix(e.Name(), ext) {
			out = append(out, filepath.Join(path, e.Name()))
		}
	}
	if out == nil {
		return nil, fmt.Errorf("%s: no file whose name ends in %s", path, ext)
	}
	return out, nil
}
