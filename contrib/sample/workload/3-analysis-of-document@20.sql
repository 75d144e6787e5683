\set id 200001 - random_zipfian(1, 200000, 1.1)
SELECT d.title, a.has_arbitration, a.confidence, a.forum FROM howdah_sample.documents d JOIN howdah_sample.arbitration_analysis a ON a.document_id = d.id WHERE d.id = :id;
