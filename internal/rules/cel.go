package rules

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/ext"
)

// celEnv is what expressions can use:
//
//	principal, auth_method, method, path, host, client_ip   string
//	roles       list(string), those of all sources
//	claims      map(string, string), of the principal
//	headers     map(string, string), by name in small letters
//	query       map(string, string), the first value of each key
//	mfa         bool
//	now         timestamp
//	issued_at   timestamp; the year 1 if not known
//
// and the functions of the standard library and of ext.Strings. The maps can be
// asked for a key; they have no list of keys.
var celEnv = sync.OnceValues(func() (*cel.Env, error) {
	text, table := cel.StringType, cel.MapType(cel.StringType, cel.StringType)
	opts := []cel.EnvOption{ext.Strings()}
	for _, v := range []struct {
		name string
		kind *cel.Type
	}{
		{"principal", text},
		{"auth_method", text},
		{"method", text},
		{"path", text},
		{"host", text},
		{"client_ip", text},
		{"roles", cel.ListType(text)},
		{"claims", table},
		{"headers", table},
		{"query", table},
		{"mfa", cel.BoolType},
		{"now", cel.TimestampType},
		{"issued_at", cel.TimestampType},
	} {
		opts = append(opts, cel.Variable(v.name, v.kind))
	}
	return cel.NewEnv(opts...)
})

func (r *rule) compileCEL() error {
	if r.CEL == "" {
		return nil
	}
	env, err := celEnv()
	if err != nil {
		return fmt.Errorf("setting up CEL: %w", err)
	}
	checked, issues := env.Compile(r.CEL)
	if issues.Err() != nil {
		return fmt.Errorf("cel: %w", issues.Err())
	}
	if checked.OutputType() != cel.BoolType {
		return fmt.Errorf("cel: the expression gives a %s: it must be true or false", checked.OutputType())
	}
	if goesThroughMap(checked.NativeRep()) {
		return errors.New("cel: the maps of a request have no list of keys to go through: ask for a key, as in \"x-debug\" in headers")
	}
	if v, ok := constant(env, checked); ok && !v {
		return errors.New("it can never match: its cel expression is always false")
	}
	r.program, err = env.Program(checked, cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return fmt.Errorf("cel: %w", err)
	}
	return nil
}

// goesThroughMap reports whether an expression goes through the keys of a map
// that is not written in it. Those of a request would seem to be empty, and all()
// to hold.
func goesThroughMap(a *ast.AST) bool {
	found := ast.MatchDescendants(ast.NavigateAST(a), func(e ast.NavigableExpr) bool {
		if e.Kind() != ast.ComprehensionKind {
			return false
		}
		over := e.AsComprehension().IterRange()
		kind := a.GetType(over.ID()).Kind()
		return over.Kind() != ast.MapKind && kind != types.ListKind
	})
	return len(found) > 0
}

// constant reports what an expression is for whatever request, if it is.
func constant(env *cel.Env, checked *cel.Ast) (value, ok bool) {
	fold, err := cel.NewConstantFoldingOptimizer()
	if err != nil {
		return false, false
	}
	static, err := cel.NewStaticOptimizer(fold)
	if err != nil {
		return false, false
	}
	folded, issues := static.Optimize(env, checked)
	if issues.Err() != nil {
		return false, false
	}
	expr := folded.NativeRep().Expr()
	if expr.Kind() != ast.LiteralKind {
		return false, false
	}
	b, ok := expr.AsLiteral().(types.Bool)
	return bool(b), ok
}

// evaluate evaluates a rule's expression.
func (r *rule) evaluate(s *subject, method, path string) (bool, error) {
	shared := *s // a copy, so that rules without an expression keep theirs off the heap
	out, _, err := r.program.Eval(&activation{&shared, method, path})
	if err != nil {
		return false, err
	}
	b, ok := out.(types.Bool)
	if !ok {
		return false, errors.New("the expression gives no bool")
	}
	return bool(b), nil
}

// activation gives an expression the variables that it asks for, and makes no
// others.
type activation struct {
	*subject
	method, path string
}

func (a *activation) Parent() cel.Activation { return nil }

func (a *activation) ResolveName(name string) (any, bool) {
	switch name {
	case "principal":
		return types.String(a.Principal), true
	case "auth_method":
		return types.String(a.AuthMethod), true
	case "method":
		return types.String(a.method), true
	case "path":
		return types.String(a.path), true
	case "host":
		return types.String(a.host), true
	case "client_ip":
		if !a.Client.IsValid() {
			return types.String(""), true
		}
		return types.String(a.Client.String()), true
	case "roles":
		return types.NewStringList(types.DefaultTypeAdapter, rolesOf(a.Request, a.assigned)), true
	case "claims":
		return table(a.claim), true
	case "headers":
		return table(a.header), true
	case "query":
		values, _ := url.ParseQuery(a.Query)
		return table(func(k string) (string, bool) { return values.Get(k), values.Has(k) }), true
	case "mfa":
		return types.Bool(a.MFA), true
	case "now":
		return types.Timestamp{Time: a.Now}, true
	case "issued_at":
		return types.Timestamp{Time: a.IssuedAt}, true
	}
	return nil, false
}

func (a *activation) claim(name string) (string, bool) {
	if a.Claims == nil {
		return "", false
	}
	return a.Claims.Claim(name)
}

func (a *activation) header(name string) (string, bool) {
	values := a.Header[http.CanonicalHeaderKey(name)]
	if len(values) == 0 {
		return "", false
	}
	return strings.Join(values, ","), true
}

// table is a map in an expression that finds a value by its key when it is asked.
type table func(key string) (string, bool)

var errNoList = errors.New("this map has no list of keys")

// Find implements traits.Mapper.
func (t table) Find(key ref.Val) (ref.Val, bool) {
	name, ok := key.(types.String)
	if !ok {
		return nil, false
	}
	v, ok := t(string(name))
	return types.String(v), ok
}

// Get implements traits.Indexer.
func (t table) Get(key ref.Val) ref.Val {
	if v, ok := t.Find(key); ok {
		return v
	}
	return types.NewErr("no such key")
}

// Contains implements traits.Container.
func (t table) Contains(key ref.Val) ref.Val {
	_, ok := t.Find(key)
	return types.Bool(ok)
}

// Iterator implements traits.Iterable. There is nothing to go through.
func (t table) Iterator() traits.Iterator {
	return types.NewStringStringMap(types.DefaultTypeAdapter, nil).Iterator()
}

// Size implements traits.Sizer.
func (t table) Size() ref.Val { return types.WrapErr(errNoList) }

// ConvertToNative implements ref.Val.
func (t table) ConvertToNative(reflect.Type) (any, error) { return nil, errNoList }

// ConvertToType implements ref.Val.
func (t table) ConvertToType(kind ref.Type) ref.Val {
	if kind == types.TypeType {
		return types.MapType
	}
	return types.WrapErr(errNoList)
}

// Equal implements ref.Val.
func (t table) Equal(ref.Val) ref.Val { return types.WrapErr(errNoList) }

// Type implements ref.Val.
func (t table) Type() ref.Type { return types.MapType }

// Value implements ref.Val.
func (t table) Value() any { return t }

var _ traits.Mapper = table(nil)
