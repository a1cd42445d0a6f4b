// Definitions of custom resources that the charts make objects of, as their projects publish them. Nothing is built of these.
module transporter.dev/sandbox/helm/crds

go 1.26.0

require (
	github.com/cert-manager/cert-manager v1.19.1
	github.com/prometheus-operator/prometheus-operator v0.85.0
	sigs.k8s.io/gateway-api v1.4.0
)
