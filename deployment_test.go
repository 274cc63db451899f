package soc2

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"go.yaml.in/yaml/v3"
)

// manifest is what of a Kubernetes manifest the Pod Security Standards look at.
type manifest struct {
	Kind     string
	Metadata struct{ Labels map[string]string }
	Spec     struct{ Template struct{ Spec podSpec } }
}

type podSpec struct {
	HostNetwork, HostPID, HostIPC bool
	SecurityContext               securityContext `yaml:"securityContext"`
	Containers                    []container
	InitContainers                []container `yaml:"initContainers"`
	Volumes                       []map[string]any
	Token                         *bool `yaml:"automountServiceAccountToken"`
}

type container struct {
	Name, Image     string
	Ports           []struct{ HostPort int }
	SecurityContext securityContext `yaml:"securityContext"`
}

type securityContext struct {
	RunAsNonRoot   *bool                 `yaml:"runAsNonRoot"`
	RunAsUser      *int                  `yaml:"runAsUser"`
	Privileged     bool                  `yaml:"privileged"`
	Escalation     *bool                 `yaml:"allowPrivilegeEscalation"`
	ReadOnly       bool                  `yaml:"readOnlyRootFilesystem"`
	Seccomp        struct{ Type string } `yaml:"seccompProfile"`
	ProcMount      string                `yaml:"procMount"`
	Sysctls        []any
	SELinuxOptions map[string]any `yaml:"seLinuxOptions"`
	Capabilities   struct{ Add, Drop []string }
}

// TestManifestsMeetTheRestrictedPodSecurityStandard applies each control that
// the standard lists, those of the baseline included.
func TestManifestsMeetTheRestrictedPodSecurityStandard(t *testing.T) {
	files, err := filepath.Glob("examples/node-app/kubernetes/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	pods, enforced := 0, false
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for d := yaml.NewDecoder(bytes.NewReader(data)); ; {
			var o manifest
			if err := d.Decode(&o); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			enforced = enforced || o.Metadata.Labels["pod-security.kubernetes.io/enforce"] == "restricted"
			if len(o.Spec.Template.Spec.Containers) > 0 {
				pods++
				restricted(t, name, &o.Spec.Template.Spec)
			}
		}
	}
	if pods != 2 || !enforced {
		t.Errorf("%d pods, enforced: %v", pods, enforced)
	}
}

func restricted(t *testing.T, name string, p *podSpec) {
	t.Helper()
	if p.HostNetwork || p.HostPID || p.HostIPC || len(p.SecurityContext.Sysctls) > 0 || p.SecurityContext.SELinuxOptions != nil {
		t.Errorf("%s: shares something with the host: %+v", name, p)
	}
	if p.Token == nil || *p.Token {
		t.Errorf("%s: the pod gets a token of the API server", name)
	}
	allowed := []string{"name", "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
	for _, v := range p.Volumes {
		for kind := range v {
			if !slices.Contains(allowed, kind) {
				t.Errorf("%s: a volume of the type %s", name, kind)
			}
		}
	}
	for _, c := range append(p.Containers, p.InitContainers...) {
		s := c.SecurityContext
		nonRoot := s.RunAsNonRoot != nil && *s.RunAsNonRoot || s.RunAsNonRoot == nil && p.SecurityContext.RunAsNonRoot != nil && *p.SecurityContext.RunAsNonRoot
		zero := s.RunAsUser != nil && *s.RunAsUser == 0 || p.SecurityContext.RunAsUser == nil || *p.SecurityContext.RunAsUser == 0
		seccomp := s.Seccomp.Type == "RuntimeDefault" || s.Seccomp.Type == "" && p.SecurityContext.Seccomp.Type == "RuntimeDefault"
		switch {
		case s.Privileged, s.Escalation == nil || *s.Escalation:
			t.Errorf("%s: %s may gain privileges", name, c.Name)
		case !nonRoot || zero:
			t.Errorf("%s: %s may run as root", name, c.Name)
		case !seccomp:
			t.Errorf("%s: %s has no seccomp profile", name, c.Name)
		case !slices.Contains(s.Capabilities.Drop, "ALL") || len(s.Capabilities.Add) > 0:
			t.Errorf("%s: %s has capabilities", name, c.Name)
		case s.ProcMount != "" && s.ProcMount != "Default", !s.ReadOnly:
			t.Errorf("%s: %s can write to its root or see all of /proc", name, c.Name)
		case !regexp.MustCompile(`@sha256:[0-9a-f]{64}$`).MatchString(c.Image):
			t.Errorf("%s: %s is not pinned", name, c.Image)
		}
		for _, port := range c.Ports {
			if port.HostPort != 0 {
				t.Errorf("%s: %s takes a port of the host", name, c.Name)
			}
		}
	}
}

func TestServiceIsExposedAtMostTwo(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		if os.Getenv("SOC2_REQUIRE_ALL") != "" {
			t.Fatal("systemd-analyze is missing: install the package systemd")
		}
		t.Skip("systemd-analyze is not there")
	}
	out, err := exec.CommandContext(t.Context(), "systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=20", "deploy/systemd/caddy-soc2.service").CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	m := regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`).FindSubmatch(out)
	if m == nil {
		t.Fatalf("no level in\n%s", out)
	}
	if level, err := strconv.ParseFloat(string(m[1]), 64); err != nil || level > 2 {
		t.Errorf("the exposure is %s, more than 2.0", m[1])
	}
}
