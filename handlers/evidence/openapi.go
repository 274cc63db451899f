package evidence

import _ "embed"

// openAPI describes the API (OpenAPI 3.1). A test holds it against the routes,
// and what is answered against its schemas.
//
//go:embed openapi.json
var openAPI []byte
