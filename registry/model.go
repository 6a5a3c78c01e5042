package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"modelbucket/blob"
)

// ModelInfo is a model as it is shown. It exists while its _model.json is not marked
// deleted, or while it has a version above the deleted ones.
type ModelInfo struct {
	Tenant      Tenant            `json:"tenant"`
	Model       Model             `json:"model"`
	Description string            `json:"description"`
	Tags        map[string]string `json:"tags"`
	Revision    int64             `json:"revision"` // of description and tags
	CreatedAt   time.Time         `json:"created_at"`
	CreatedBy   string            `json:"created_by"`
	Latest      *Number           `json:"latest"`  // null: none, or not asked for
	Aliases     map[Alias]Number  `json:"aliases"` // null: not asked for
}

// ensureModel writes the first _model.json of a model.
func (r *Registry) ensureModel(ctx context.Context, s series, by string) error {
	body := &modelBody{Folder: s.model, CreatedAt: r.stamp(), CreatedBy: by}
	body.add(uuid.NewString())
	data, err := seal(s.modelKey(), body)
	if err != nil {
		return err
	}
	_, err = r.create(ctx, s.modelKey(), data)
	return err
}

func modelInfo(s series, body *modelBody) *ModelInfo {
	m := &ModelInfo{
		Tenant: s.tenant, Model: s.model, Description: body.Description, Tags: maps.Clone(body.Tags),
		Revision: body.Revision, CreatedAt: body.CreatedAt, CreatedBy: body.CreatedBy,
	}
	if m.Tags == nil {
		m.Tags = map[string]string{}
	}
	return m
}

// Model describes one model with its latest version and its aliases.
func (r *Registry) Model(ctx context.Context, t Tenant, m Model) (*ModelInfo, error) {
	s := series{t, m}
	body, err := r.readModel(ctx, s)
	if err != nil {
		return nil, err
	}
	if body == nil {
		return nil, fmt.Errorf("%s: %w", s, ErrModelNotFound)
	}
	info := modelInfo(s, body)
	if err := r.fillModel(ctx, s, info); err != nil {
		return nil, err
	}
	if body.Deleted && info.Latest == nil {
		return nil, fmt.Errorf("%s: %w", s, ErrModelNotFound)
	}
	return info, nil
}

// fillModel adds what takes more calls than reading _model.json.
func (r *Registry) fillModel(ctx context.Context, s series, info *ModelInfo) error {
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		n, err := r.latest(gctx, s, false)
		if err == nil && n > 0 {
			info.Latest = &n
		}
		return err
	})
	g.Go(func() error {
		aliases, err := r.Aliases(gctx, s.tenant, s.model)
		info.Aliases = make(map[Alias]Number, len(aliases))
		for _, a := range aliases {
			info.Aliases[a.Alias] = a.Version
		}
		return err
	})
	return g.Wait()
}

// ModelQuery chooses a page of a tenant's models: those behind After in the order of
// the listing, at most Limit (0: 100) and about pageBytes. Latest asks for latest and
// aliases as well, which costs some calls for each model; without it a model costs one
// read.
type ModelQuery struct {
	After  Model
	Limit  int
	Latest bool
}

// ModelPage is a page of models; Next, unless it is empty, is the After of the next.
type ModelPage struct {
	Models []*ModelInfo
	Next   Model
}

// Models lists the models of a tenant. ErrTenantNotFound where there is nothing of it.
func (r *Registry) Models(ctx context.Context, t Tenant, q ModelQuery) (ModelPage, error) {
	return r.models(ctx, t, q, new(pageMeter))
}

func (r *Registry) models(ctx context.Context, t Tenant, q ModelQuery, meter *pageMeter) (ModelPage, error) {
	limit := pageLimit(q.Limit)
	page := ModelPage{Models: []*ModelInfo{}}
	first := true
	for {
		names, complete, err := r.modelNames(ctx, t, q.After, limit+1)
		if err != nil {
			return ModelPage{}, err
		}
		if first && q.After == "" && len(names) == 0 && complete {
			if _, err := r.Tenant(ctx, t); err != nil {
				return ModelPage{}, err
			}
		}
		first = false
		more := len(names) > limit-len(page.Models)
		if more {
			names = names[:limit-len(page.Models)]
		}
		infos, done, err := r.describeModels(ctx, t, names, q.Latest, meter)
		if err != nil {
			return ModelPage{}, err
		}
		page.Models = append(page.Models, infos...)
		if done > 0 {
			q.After = names[done-1]
		}
		if complete && !more && done == len(names) {
			return page, nil
		}
		if len(page.Models) == limit || meter.full() {
			page.Next = q.After
			return page, nil
		}
	}
}

// firstModel is the first model of a tenant that is not deleted, or "".
func (r *Registry) firstModel(ctx context.Context, t Tenant) (Model, error) {
	for after := Model(""); ; {
		names, _, err := r.modelNames(ctx, t, after, keysForPage)
		if err != nil || len(names) == 0 {
			return "", err
		}
		infos, done, err := r.describeModels(ctx, t, names, false, new(pageMeter))
		if err != nil {
			return "", err
		}
		if len(infos) > 0 {
			return infos[0].Model, nil
		}
		after = names[done-1]
	}
}

// modelNames lists the names behind after in the order of the listing, at most limit and
// at least one unless there are no more. The folder of the audit log is among a tenant's.
func (r *Registry) modelNames(ctx context.Context, t Tenant, after Model, limit int) (names []Model, complete bool, err error) {
	for from := string(after); ; {
		folders, complete, err := r.folders(ctx, tenantPrefix(t), from, limit+1)
		if err != nil {
			return nil, false, err
		}
		for _, name := range folders {
			if m, err := ParseModel(name); err == nil {
				names = append(names, m)
			}
		}
		switch {
		case len(names) > limit:
			return names[:limit], false, nil
		case complete || len(names) > 0:
			return names, complete, nil
		}
		from = folders[len(folders)-1]
	}
}

// folders lists the names of the folders below prefix that come after one of them
// ("": all), at most limit and at least one unless there are no more.
func (r *Registry) folders(ctx context.Context, prefix, after string, limit int) (names []string, complete bool, err error) {
	o := blob.ListOptions{Prefix: prefix, Delimiter: "/", Limit: min(limit, keysForPage)}
	if after != "" {
		o.StartAfter = past(prefix, after)
	}
	for {
		page, err := r.bucket.List(ctx, o)
		if err != nil {
			return nil, false, fmt.Errorf("list %s: %w", cmp.Or(prefix, "the bucket"), err)
		}
		for _, p := range page.Prefixes {
			names = append(names, segment(p))
		}
		if page.Next == "" {
			return names, true, nil
		}
		if len(names) > 0 {
			return names, false, nil
		}
		o.StartAfter = page.Next
	}
}

// describeModels reads as many of the models as the page has room for, and leaves out
// those that do not exist.
func (r *Registry) describeModels(ctx context.Context, t Tenant, names []Model, latest bool, meter *pageMeter) (found []*ModelInfo, done int, err error) {
	found, done, err = gather(ctx, meter, len(names), func(ctx context.Context, i int) (*ModelInfo, error) {
		s := series{t, names[i]}
		body, err := r.readModel(ctx, s)
		if err != nil || body == nil {
			return nil, err
		}
		info := modelInfo(s, body)
		if latest || body.Deleted {
			if err := r.fillModel(ctx, s, info); err != nil {
				return nil, err
			}
		}
		if body.Deleted && info.Latest == nil {
			return nil, nil
		}
		return info, nil
	})
	if err != nil {
		return nil, 0, fmt.Errorf("list models of %s: %w", t, err)
	}
	return found, done, nil
}

// AllModelsQuery chooses a page of the models of all tenants that MaySee admits (nil:
// all): it begins with the models of Tenant behind After and goes on with the tenants
// behind that one. Only, unless it is empty, is the one tenant that counts.
type AllModelsQuery struct {
	Tenant Tenant
	After  Model
	Limit  int
	Latest bool
	Only   Tenant
	MaySee func(Tenant) bool
}

// AllModelsPage is a page of models of many tenants. NextTenant, unless it is empty,
// and NextModel begin the next page.
type AllModelsPage struct {
	Models     []*ModelInfo
	NextTenant Tenant
	NextModel  Model
}

// AllModels lists the models of many tenants, tenant by tenant.
func (r *Registry) AllModels(ctx context.Context, q AllModelsQuery) (AllModelsPage, error) {
	limit := pageLimit(q.Limit)
	page, meter := AllModelsPage{Models: []*ModelInfo{}}, new(pageMeter)
	for tenant, after := q.Tenant, q.After; ; after = "" {
		if tenant != "" && (q.Only == "" || q.Only == tenant) && (q.MaySee == nil || q.MaySee(tenant)) {
			models, err := r.models(ctx, tenant, ModelQuery{After: after, Limit: limit - len(page.Models), Latest: q.Latest}, meter)
			if err != nil && !errors.Is(err, ErrTenantNotFound) {
				return AllModelsPage{}, err
			}
			page.Models = append(page.Models, models.Models...)
			if models.Next != "" {
				page.NextTenant, page.NextModel = tenant, models.Next
				return page, nil
			}
		}
		next, err := r.tenantNames(ctx, tenant, 1, q.Only, q.MaySee)
		if err != nil || len(next) == 0 {
			return page, err
		}
		tenant = next[0]
		if len(page.Models) == limit || meter.full() {
			page.NextTenant = tenant
			return page, nil
		}
	}
}
