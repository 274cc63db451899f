package evidence

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Order is what somebody orders that changes what is kept of the past. All of
// it is recorded.
type Order struct {
	By     string `json:"by"`     // who orders it
	Reason string `json:"reason"` // why

	// Subject is the user to be forgotten: "forget".
	Subject string `json:"subject,omitempty"`

	// What is pseudonyms or personal, and Period the period or the day, whose
	// keys are to be destroyed: "destroy".
	What   string `json:"what,omitempty"`
	Period string `json:"period,omitempty"`

	// Name is that of a legal hold, From and To the times of the records that it
	// holds, by default all: "hold" and "release".
	Name string    `json:"name,omitempty"`
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
}

// Keeper carries orders out. The soc2 app is one.
type Keeper interface {
	// Forget, Destroy, Hold, Release, Prune and Verify return what is to be
	// answered.
	Forget(o Order) (any, error)
	Destroy(o Order) (any, error)
	Hold(o Order) (any, error)
	Release(o Order) (any, error)
	Prune(ctx context.Context, o Order) (any, error)
	Verify(ctx context.Context, o Order) (any, error)
	// Holds are the legal holds.
	Holds() (any, error)
}

// ErrOrder means that an order cannot be carried out as it is.
var ErrOrder = errors.New("the order cannot be carried out")

// maxOrder is the longest order, in bytes.
const maxOrder = 16 << 10

// keeping answers requests of the admin API that change what is kept. It
// reports false for a path that is not one of its.
func keeping(w http.ResponseWriter, r *http.Request, path string) bool {
	if path == "/holds" && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		answer(w, r, func(k Keeper, _ Order) (any, error) { return k.Holds() }, false)
		return true
	}
	ctx := r.Context()
	carry, ok := map[string]func(Keeper, Order) (any, error){
		"/forget":        Keeper.Forget,
		"/destroy":       Keeper.Destroy,
		"/holds":         Keeper.Hold,
		"/holds/release": Keeper.Release,
		"/log/prune":     func(k Keeper, o Order) (any, error) { return k.Prune(ctx, o) },
		"/log/verify":    func(k Keeper, o Order) (any, error) { return k.Verify(ctx, o) },
	}[path]
	if !ok {
		return false
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		problem(w, r, http.StatusMethodNotAllowed, "This changes what is kept: use POST.")
		return true
	}
	answer(w, r, carry, true)
	return true
}

// answer carries an order out and says how it went.
func answer(w http.ResponseWriter, r *http.Request, carry func(Keeper, Order) (any, error), ordered bool) {
	src, err := activeSource()
	keeper, ok := src.(Keeper)
	if err != nil || !ok {
		problem(w, r, http.StatusServiceUnavailable, "There is no audit log: the app soc2 is not configured or did not start.")
		return
	}
	var o Order
	if ordered {
		if o, err = readOrder(w, r); err != nil {
			problem(w, r, http.StatusBadRequest, err.Error())
			return
		}
	}
	v, err := carry(keeper, o)
	switch {
	case errors.Is(err, ErrOrder):
		problem(w, r, http.StatusConflict, err.Error())
	case err != nil:
		report(err)
		problem(w, r, http.StatusInternalServerError, err.Error())
	default:
		sendJSON(w, r, http.StatusOK, typeJSON, v)
	}
}

// readOrder reads the body of a request.
func readOrder(w http.ResponseWriter, r *http.Request) (o Order, err error) {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxOrder))
	d.DisallowUnknownFields()
	if err = d.Decode(&o); err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows it")
		}
	}
	if err != nil {
		return o, fmt.Errorf("the body must be one JSON object: %w", err)
	}
	if o.By == "" || o.Reason == "" {
		return o, errors.New(`"by" and "reason" are needed: the log records who ordered it and why`)
	}
	return o, nil
}
