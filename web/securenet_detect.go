package web

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"

	"modelbucket/detector"
	"modelbucket/registry"
)

// secureDone is how SecureNet says that it did what it was asked to.
type secureDone struct {
	Status    string `json:"status"`
	Message   string `json:"message"`
	ModelPath string `json:"model_path,omitempty"`
}

// secureTrain trains on events and saves the detector under SecureNet's own name.
func (s *Server) secureTrain(c *call) error {
	if err := c.wantJSON(); err != nil {
		return err
	}
	t, err := c.target("tenant_id", "version")
	if err != nil {
		return err
	}
	events, key, err := s.enterTraining(c)
	if err != nil {
		return err
	}
	defer events.held.leave()
	var label registry.Label
	trained, err := s.fit(c, events, detector.JSON, &trainBody{}, func(members []byte) error {
		return DecodeJSON(members, &t)
	})
	if err != nil {
		return err
	}
	if t.Version != nil {
		if label, err = registry.ParseLabel(*t.Version); err != nil {
			return err
		}
		t.Version = nil
	}
	if err := c.aim(t, Train); err != nil {
		return err
	}
	about, err := json.Marshal(secureTrainingOf(trained.Record))
	if err != nil {
		return err
	}
	v, err := trained.Publish(c.r.Context(), s.registry, registry.Publication{
		Tenant: c.tenant, Model: secureModel, Label: label, Key: key, By: c.who.Name, UserMetadata: about, Signer: s.options.Signer,
	})
	if err != nil {
		return err
	}
	s.resolver.Forget(v.Tenant, v.Model)
	c.names(v)
	return c.json(http.StatusOK, secureDone{"success", "Model trained and saved successfully", securePath(v, v.Files[0])})
}

// secureTraining is what SecureNet's training keeps beside a model.
type secureTraining struct {
	Samples         int             `json:"training_samples"`
	FeatureCount    int             `json:"feature_count"`
	Hyperparameters json.RawMessage `json:"hyperparameters"`
	Hash            string          `json:"training_data_hash"`
}

func secureTrainingOf(r *detector.Record) secureTraining {
	return secureTraining{r.Training.Samples, len(r.Training.Features), r.Training.Hyperparameters, r.Training.Hash}
}

// secureDelete deletes one version: the latest where none is named, and never the model.
func (s *Server) secureDelete(c *call) error {
	t, err := c.target("tenant_id", "version")
	if err != nil {
		return err
	}
	if err := c.aim(t, VersionDelete); err != nil {
		return err
	}
	v, err := s.registry.DeleteVersion(c.r.Context(), c.ref(), registry.Deletion{By: c.who.Name})
	if err != nil {
		return err
	}
	s.resolver.Forget(c.tenant, c.model)
	c.names(v)
	return c.json(http.StatusOK, secureDone{Status: "success", Message: "Model deleted successfully"})
}

func (s *Server) secureLoad(c *call) error {
	t, err := c.target("tenant_id", "version")
	if err != nil {
		return err
	}
	if c.hasBody() {
		if err := c.readJSON(&t); err != nil {
			return err
		}
	}
	if err := c.aim(t, Warm); err != nil {
		return err
	}
	_, release, err := s.ready(c)
	if err != nil {
		return err
	}
	release()
	return c.json(http.StatusOK, secureDone{Status: "success", Message: "Model loaded successfully"})
}

// secureDetect judges events, and gives each back with its result. tenant_id and
// version may stand behind the events, so the body is read first.
func (s *Server) secureDetect(c *call) error {
	if err := c.wantJSON(); err != nil {
		return err
	}
	t, err := c.target("tenant_id", "version")
	if err != nil {
		return err
	}
	held, err := c.enterBody(s.works.events, answerFactor)
	if err != nil {
		return err
	}
	defer held.leave()
	if c.r.ContentLength > maxEventBody {
		return tooManyEvents(tooLarge(maxEventBody))
	}
	var body bytes.Buffer
	members, err := membersOf(io.TeeReader(c.heldBody(maxEventBody, held, answerFactor), &body))
	if err != nil {
		return err
	}
	if members != nil {
		if err := DecodeJSON(members, &t); err != nil {
			return err
		}
	}
	if err := c.aim(t, Detect); err != nil {
		return err
	}
	m, release, err := s.ready(c)
	if err != nil {
		return err
	}
	defer release()
	turn := s.turn(c, true)
	if err := turn.take(); err != nil {
		return err
	}
	defer turn.give()
	v := m.version
	out, err := json.Marshal(struct {
		ModelName registry.Model  `json:"model_name"`
		TenantID  registry.Tenant `json:"tenant_id"`
		Version   string          `json:"version"`
	}{v.Model, v.Tenant, secureVersion(v)})
	if err != nil {
		return err
	}
	out[len(out)-1] = ','
	out, err = appendResults(c, held, out, m.detector, detector.NewReader(&body, detector.JSON), detector.ScoreOptions{Original: true})
	if err != nil {
		return err
	}
	turn.give()
	writeBody(c.w, c.r, http.StatusOK, "application/json", append(out, "}\n"...))
	return nil
}

// membersOf reads a body of events to its end for what stands beside them: a JSON
// object, or nil where the body is an array.
func membersOf(body io.Reader) ([]byte, error) {
	events := detector.NewReader(body, detector.JSON)
	for n := 0; ; n++ {
		switch _, err := events.Next(); {
		case err == nil && n == maxEvents:
			return nil, moreThanEvents()
		case err == nil:
		case err != io.EOF:
			return nil, err
		case events.Members() == nil:
			return nil, nil
		default:
			return json.Marshal(events.Members())
		}
	}
}
