package tlsfloor

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// members are the names in a configuration that rules look at. Caddy reads them
// in any mixture of small letters and capitals, as encoding/json does.
var members = func() map[string]bool {
	m := map[string]bool{}
	for name := range strings.FieldsSeq(`apps http_port https_port servers
		listen listener_wrappers routes errors named_routes tls_connection_policies automatic_https strict_sni_host
		disable disable_redirects skip match handle response set add headers abort
		protocol_min protocol_max cipher_suites curves insecure_secrets_log drop client_authentication
		mode ca trusted_ca_certs trusted_ca_certs_pem_files trusted_leaf_certs verifiers
		upstreams dial dynamic_upstreams transport tls insecure_skip_verify except_ports versions`) {
		m[name] = true
	}
	return m
}()

// chosen are members whose own members have names that somebody chose.
var chosen = map[string]bool{"servers": true, "named_routes": true, "set": true, "add": true, "headers": true}

// respell gives the members below v the names that rules look for. One that is
// there twice is an error: which of them Caddy takes depends on their order.
func respell(v any, named bool) error {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			if err := respell(item, true); err != nil {
				return err
			}
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if err := respell(v[name], !chosen[strings.ToLower(name)]); err != nil {
				return err
			}
			lower := strings.ToLower(name)
			if !named || name == lower || !members[lower] {
				continue
			}
			if _, twice := v[lower]; twice {
				return fmt.Errorf("the configuration has both %s and %s in one place: remove one", name, lower)
			}
			v[lower] = v[name]
			delete(v, name)
		}
	}
	return nil
}
