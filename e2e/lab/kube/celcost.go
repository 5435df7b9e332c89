package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/common"
	"sigs.k8s.io/yaml"
)

// cost is what validating one object took of the budget that the API server gives each request.
type cost struct {
	Used   int64    `json:"used"`
	Budget int64    `json:"budget"`
	Errors []string `json:"errors"`
}

// newCelCostCommand makes the command that asks the API server's own evaluator what an object costs: the estimate that
// the API server makes of a CRD says what the worst object could cost, not what a real one does.
func newCelCostCommand() *cobra.Command {
	return &cobra.Command{
		Use:          "cel-cost CRD OBJECT [OLD]",
		Short:        "Print what a CRD's x-kubernetes-validations cost for one object, as JSON",
		Args:         cobra.RangeArgs(2, 3),
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			found, err := celCost(args)
			if err != nil {
				return err
			}
			return json.NewEncoder(os.Stdout).Encode(found)
		},
	}
}

func celCost(files []string) (*cost, error) {
	object, err := readObject(files[1])
	if err != nil {
		return nil, err
	}
	structural, err := readSchema(files[0], object)
	if err != nil {
		return nil, err
	}
	complete(object, structural)
	// As in pkg/registry/customresource/strategy.go: an update compares, a create has nothing to compare with.
	var old any
	var options []cel.Option
	if len(files) == 3 {
		before, err := readObject(files[2])
		if err != nil {
			return nil, err
		}
		complete(before, structural)
		old = before.Object
		both := common.NewCorrelatedObject(object.Object, before.Object, &model.Structural{Structural: structural})
		options = append(options, cel.WithRatcheting(both))
	}
	result := &cost{Budget: celconfig.RuntimeCELCostBudget, Errors: []string{}}
	validator := cel.NewValidator(structural, true, celconfig.PerCallLimit)
	if validator == nil {
		return result, nil
	}
	errs, left := validator.Validate(context.Background(), nil, structural, object.Object, old, result.Budget, options...)
	for _, err := range errs {
		result.Errors = append(result.Errors, err.Error())
	}
	result.Used = result.Budget - left
	return result, nil
}

// complete does what the API server does to an object before it validates it.
func complete(object *unstructured.Unstructured, structural *schema.Structural) {
	pruning.Prune(object.Object, structural, true)
	defaulting.PruneNonNullableNullsWithoutDefaults(object.Object, structural)
	defaulting.Default(object.Object, structural)
}

// readSchema reads the schema of the object's version.
func readSchema(file string, object *unstructured.Unstructured) (*schema.Structural, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(text, &crd); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	found := object.GroupVersionKind()
	at := slices.IndexFunc(crd.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool {
		return v.Name == found.Version
	})
	if found.Group != crd.Spec.Group || found.Kind != crd.Spec.Names.Kind || at < 0 || crd.Spec.Versions[at].Schema == nil {
		return nil, fmt.Errorf("%s has no schema of %s", file, found)
	}
	var internal apiextensions.CustomResourceValidation
	err = apiextensionsv1.Convert_v1_CustomResourceValidation_To_apiextensions_CustomResourceValidation(
		crd.Spec.Versions[at].Schema, &internal, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return schema.NewStructural(internal.OpenAPIV3Schema)
}

func readObject(file string) (*unstructured.Unstructured, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	text, err = yaml.YAMLToJSON(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	object := &unstructured.Unstructured{}
	// Whole numbers become int64 as in the API server, not float64: CEL's rules tell them apart.
	if err := object.UnmarshalJSON(text); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return object, nil
}
