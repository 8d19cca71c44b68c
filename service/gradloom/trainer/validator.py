"""`python -m gradloom.trainer validate`: what only TensorFlow can tell about a spec, without devices or training.

Reads one JSON document from stdin until its end:
    {"spec": base64 of a serialized gradloom.v1.JobSpec with its seed,
     "data_roots": [absolute paths], "dataset_directories": [absolute paths],
     "device_kind": "CPU" | "GPU", "replicas": int}                 what the job would be given; default one CPU
and writes one JSON document to stdout, exactly one of
    {"resolved_spec": base64 of a serialized gradloom.v1.ResolvedSpec}
    {"faults": [{"field": "spec....", "description": "..."}, ...]}
    {"error": {"exception_type": "...", "message": "..."}}          neither: not the spec's fault as far as can be told
then exits 0. What libraries print goes to stderr. The caller bounds memory and time.
"""
