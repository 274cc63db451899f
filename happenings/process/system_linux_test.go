package process

import "testing"

func TestMemoryOfTheControlGroupIsWithoutWhatCanBeLetGo(t *testing.T) {
	files := map[string]string{
		"/proc/self/cgroup":                 "0::/a/b\n",
		"/sys/fs/cgroup/a/b/memory.max":     "1000\n",
		"/sys/fs/cgroup/a/b/memory.current": "950\n",
		"/sys/fs/cgroup/a/b/memory.stat":    "anon 1\ninactive_file 300\n",
	}
	read := func(name string) string { return files[name] }
	if n, most, ok := controlGroup(read); n != 650 || most != 1000 || !ok {
		t.Error(n, most, ok)
	}
	files["/sys/fs/cgroup/a/b/memory.max"] = "max\n"
	if _, _, ok := controlGroup(read); ok {
		t.Error("no limit is one")
	}
	files["/proc/self/cgroup"] = "0::/../../x\n"
	if _, _, ok := controlGroup(read); ok {
		t.Error("a path out of the file system of control groups is followed")
	}
}

func TestOpenFilesAreCounted(t *testing.T) {
	if n, most, ok := openFiles(); !ok || n < 3 || most < n {
		t.Error(n, most, ok)
	}
}
