{{/* What the pods have in common. */}}

{{/* A container that needs no rights: Pod Security Standard "restricted". */}}
{{- define "keyferry.restricted" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{/* The same for the pod; the group is what lets it read its Secrets, which are 0440. */}}
{{- define "keyferry.unprivileged" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "keyferry.probes" -}}
# On a busy node a start can take longer than a service that hangs may live.
startupProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 2
  timeoutSeconds: 6
  failureThreshold: 150
livenessProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 10
  timeoutSeconds: 6
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /readyz, port: http}
  periodSeconds: 5
  timeoutSeconds: 5
{{- end -}}

{{/* (list $ component values): where its pods go: onto different nodes and zones where that is possible. */}}
{{- define "keyferry.scheduling" -}}
{{- $values := index . 2 -}}
topologySpreadConstraints:
{{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "keyferry.selector" $ | nindent 8 }}
{{- end }}
{{- include "keyferry.placement" $values }}
{{- end -}}

{{- define "keyferry.placement" -}}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
nodeSelector:
  kubernetes.io/os: linux
  {{- with .nodeSelector }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{/* (list $ component values): metadata of a pod. */}}
{{- define "keyferry.podMetadata" -}}
{{- $values := index . 2 -}}
labels:
  {{- include "keyferry.labels" . | nindent 2 }}
  {{- with $values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "keyferry.pullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* A folder with the public keys and the private ones of a service. */}}
{{- define "keyferry.keysVolume" -}}
- name: keys
  projected:
    defaultMode: 0440
    sources:
      - configMap: {name: keyferry-public-keys}
      - secret: {name: keyferry-{{ . }}-keys}
{{- end -}}

{{/* (list $ service): what a service proves itself with, and whom it trusts: volumes and where they are mounted. */}}
{{- define "keyferry.identityVolumes" -}}
{{- $root := index . 0 -}}{{- $service := index . 1 -}}
{{- $stores := list "fetcher" "rotator" -}}
{{- if or (include "keyferry.identified" $root) (and $root.Values.valkey.enabled (has $service $stores)) }}
- name: identity
  projected:
    defaultMode: 0440
    sources:
      - configMap: {name: keyferry-ca}
      {{- if eq $service "node-driver" }}
      - serviceAccountToken: {path: token, audience: keyferry-nats, expirationSeconds: 3600}
      {{- else if include "keyferry.identified" $root }}
      - secret:
          name: keyferry-{{ $service }}-identity
          items:
            - {key: nats.nk, path: nats.nk}
            {{- if eq $service "fetcher" }}
            - {key: callout.nk, path: callout.nk}
            - {key: issuer.nk, path: issuer.nk}
            {{- end }}
      {{- end }}
{{- end }}
{{- if and (not $root.Values.nats.enabled) $root.Values.nats.caConfigMap }}
- name: nats-ca
  configMap: {name: {{ $root.Values.nats.caConfigMap }}}
{{- end }}
{{- if and (not $root.Values.valkey.enabled) $root.Values.redis.caConfigMap (has $service $stores) }}
- name: redis-ca
  configMap: {name: {{ $root.Values.redis.caConfigMap }}}
{{- end }}
{{- end -}}

{{- define "keyferry.identityMounts" -}}
{{- $volumes := include "keyferry.identityVolumes" . | fromYamlArray -}}
{{- range $volumes }}
- name: {{ .name }}
  mountPath: /etc/keyferry/{{ trimSuffix "-ca" .name }}
  readOnly: true
{{- end }}
{{- end -}}
