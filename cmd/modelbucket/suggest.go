package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"modelbucket/registry"
	"modelbucket/web/client"
)

// suggestTime is how long a wrong name may keep the user waiting for a better one.
const suggestTime = 2 * time.Second

// suggest adds to an error about a name that is not there what would be right.
func (p *program) suggest(ctx context.Context, api *client.Client, ref registry.Ref, err error) error {
	problem, ok := errors.AsType[*client.Error](err)
	if !ok {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, suggestTime)
	defer cancel()
	better := *problem
	switch problem.Code {
	case "version_not_found", "version_deleted", "alias_not_found":
		better.Hint = fmt.Sprintf("list them: modelbucket list %s/%s", ref.Tenant, ref.Model)
	case "model_not_found":
		models, _, listErr := take(api.Models(ctx, ref.Tenant, client.ModelList{}), 1000)
		if listErr != nil {
			return err // the first error is the one to tell
		}
		names := make([]string, len(models))
		for i, m := range models {
			names[i] = string(m.Model)
		}
		better.Hint = fmt.Sprintf("%s has no models; list all: modelbucket list", ref.Tenant)
		if len(names) > 0 {
			better.Hint = fmt.Sprintf("list them: modelbucket list %s", ref.Tenant)
		}
		if name, ok := nearest(string(ref.Model), names); ok {
			better.Hint = fmt.Sprintf("did you mean %s/%s? %s", ref.Tenant, name, better.Hint)
		}
	}
	return &better
}
