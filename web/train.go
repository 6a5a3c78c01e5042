package web

import (
	"encoding/json"
	"fmt"
	"net/http"

	"modelbucket/detector"
	"modelbucket/detector/forest"
	"modelbucket/registry"
)

// trainBody is what stands beside the events in a JSON body; of other bodies the query
// says it.
type trainBody struct {
	Label          registry.Label       `json:"label"`
	Features       []string             `json:"features"`
	Parameters     json.RawMessage      `json:"parameters"`
	ThreatLevels   detector.LevelChoice `json:"threat_levels"`
	SklearnVersion string               `json:"sklearn_version"`
	Description    string               `json:"description"`
	Tags           map[string]string    `json:"tags"`
	Aliases        []registry.Alias     `json:"aliases"`
	UserMetadata   json.RawMessage      `json:"user_metadata"`

	parameters *forest.Params
}

// The parameters of the forest, as they are called in a query.
var forestParameters = []string{"n_estimators", "max_samples", "max_features", "contamination", "bootstrap", "random_state"}

// train makes a detector of events, and a version of the detector.
func (s *Server) train(c *call) error {
	format, err := c.eventFormat()
	if err != nil {
		return err
	}
	said, err := c.trainQuery()
	if err != nil {
		return err
	}
	if err := c.mayAlias(c.tenant, said.Aliases); err != nil {
		return err
	}
	body, key, err := s.enterTraining(c)
	if err != nil {
		return err
	}
	defer body.held.leave()
	t, err := s.fit(c, body, format, &said, func(members []byte) error {
		if len(c.r.URL.RawQuery) > 0 && string(members) != "{}" {
			return problemf(codeBadRequest, "both the query and the body say what to train").hint("put %s into the body, beside network_data", shown(c.r.URL.RawQuery))
		}
		if err := DecodeJSON(members, &said); err != nil {
			return err
		}
		return c.mayAlias(c.tenant, said.Aliases)
	})
	if err != nil {
		return err
	}
	v, err := t.Publish(c.r.Context(), s.registry, registry.Publication{
		Tenant: c.tenant, Model: c.model, Label: said.Label, Key: key, By: c.who.Name, Aliases: said.Aliases,
		Description: said.Description, Tags: said.Tags, UserMetadata: said.UserMetadata, Signer: s.options.Signer,
	})
	if err != nil {
		return err
	}
	return s.created(c, v)
}

// enterTraining lets a training in: with its body, whose hold on memory is to be left,
// and its idempotency key.
func (s *Server) enterTraining(c *call) (body *requestBody, key string, err error) {
	if key, err = c.idempotencyKey(); err != nil {
		return nil, "", err
	}
	limit, err := s.roomToTrain(c, key)
	if err != nil {
		return nil, "", err
	}
	held, err := c.enterBody(s.works.training, 1)
	if err != nil {
		return nil, "", err
	}
	return c.heldBody(limit, held, 1), key, nil
}

// roomToTrain admits a training before its body is read, and is how large that may be, in
// bytes. With a key the version may be there already, and then it needs no room.
func (s *Server) roomToTrain(c *call, key string) (limit int64, err error) {
	t := c.worker()
	limit, err = s.uploadLimit(c, 0)
	if err != nil || key != "" || s.registry.KnownLimit(t, registry.LimitVersions) < 0 && s.registry.KnownLimit(t, registry.LimitStoredBytes) < 0 {
		return limit, err
	}
	return limit, s.registry.Room(c.r.Context(), t, 0)
}

// fit reads a body of events to its end and trains on them. What stands beside them in
// a JSON body goes to decode, which fills said.
func (s *Server) fit(c *call, body *requestBody, format detector.Format, said *trainBody, decode func(members []byte) error) (*detector.Trained, error) {
	ctx := c.r.Context()
	turn := s.turn(c, false)
	defer turn.give()
	events := detector.NewReader(turn.body(body), format)
	if err := events.Start(); err != nil {
		return nil, err
	}
	keep, err := featuresToKeep(events.Members(), said.Features)
	if err != nil {
		return nil, err
	}
	set, err := detector.Collect(ctx, events, detector.CollectOptions{Features: keep})
	if err != nil {
		return nil, err
	}
	c.share.owe(set.Samples)
	if members := events.Members(); members != nil {
		text, err := json.Marshal(members)
		if err != nil {
			return nil, err
		}
		if err := decode(text); err != nil {
			return nil, err
		}
	}
	if said.Parameters != nil {
		p, err := detector.ParseParameters(said.Parameters)
		if err != nil {
			return nil, err
		}
		said.parameters = &p
	}
	turn.give()
	held, err := c.enter(s.works.fits, 1) // few at once: each may keep many processors busy
	if err != nil {
		return nil, err
	}
	defer held.leave()
	trained, err := detector.Train(ctx, set, detector.TrainOptions{
		Features: said.Features, Parameters: said.parameters, Levels: said.ThreatLevels, SklearnVersion: said.SklearnVersion,
	})
	if err != nil {
		return nil, err
	}
	return trained, c.rights.last() // it is to be saved
}

// featuresToKeep are the columns that a training needs, as far as that is known before
// the events; nil is all of them.
func featuresToKeep(members map[string]json.RawMessage, named []string) ([]string, error) {
	switch text, given := members["features"]; {
	case given:
		var body struct {
			Features []string `json:"features"`
		}
		return body.Features, DecodeJSON(fmt.Appendf(nil, `{"features":%s}`, text), &body)
	case named != nil:
		return named, nil
	case members != nil:
		return nil, nil // they may be named behind the events
	}
	return detector.DefaultFeatures(), nil
}

// trainQuery reads what the query says of a training: all that a JSON object could
// say in its members, but for tags and user_metadata.
func (c *call) trainQuery() (said trainBody, err error) {
	q, err := c.query(append([]string{"label", "alias…", "features…", "threat_levels", "sklearn_version", "description"}, forestParameters...)...)
	if err != nil {
		return said, err
	}
	if said.Label, err = optional(q.Get("label"), registry.ParseLabel); err != nil {
		return said, err
	}
	if said.Aliases, err = q.aliases(); err != nil {
		return said, err
	}
	said.Features, said.Description, said.SklearnVersion = q.Values["features"], q.Get("description"), q.Get("sklearn_version")
	if choice := q.Get("threat_levels"); choice != "" {
		text := []byte(choice)
		if text[0] != '{' {
			if text, err = json.Marshal(choice); err != nil {
				return said, err
			}
		}
		if err := DecodeJSON(fmt.Appendf(nil, `{"threat_levels":%s}`, text), &said); err != nil {
			return said, err
		}
	}
	for _, name := range forestParameters {
		if !q.Has(name) {
			continue
		}
		if said.parameters == nil {
			p := forest.DefaultParams()
			said.parameters = &p
		}
		if err := detector.SetParameter(said.parameters, name, q.Get(name)); err != nil {
			return said, err
		}
	}
	return said, nil
}

func (q query) aliases() (aliases []registry.Alias, err error) {
	for _, text := range q.Values["alias"] {
		alias, err := registry.ParseAlias(text)
		if err != nil {
			return nil, err
		}
		aliases = append(aliases, alias)
	}
	return aliases, nil
}

// created answers with a new version and where it is.
func (s *Server) created(c *call, v *registry.Version) error {
	s.resolver.Forget(v.Tenant, v.Model)
	c.names(v)
	c.w.Header().Set("Location", versionPath(v))
	return c.tellTag(http.StatusCreated, v, wholeTag(v.Revision))
}
